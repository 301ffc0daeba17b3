"""RotatE: a knowledge graph whose relations turn complex numbers (Sun et al. 2019).

python main.py --config configs/rotate.py:data=kg:FILE.tar.gz
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    common.graph(c)
    c.method = "rotate"
    return c
