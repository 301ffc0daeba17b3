"""TransE: a knowledge graph whose relations are steps from entity to entity (Bordes et al. 2013).

python main.py --config configs/transe.py:data=kg:FILE.tar.gz
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    common.graph(c)
    c.method = "transe"
    return c
