"""ComplEx with the penalty N3: a knowledge graph in complex numbers (Trouillon et al. 2016; Lacroix et al. 2018).

python main.py --config configs/complex.py:data=kg:FILE.tar.gz
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    common.graph(c)
    c.method = "complex"
    return c
