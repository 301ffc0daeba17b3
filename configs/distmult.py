"""DistMult: a knowledge graph by products of entities, weighed by relations (Yang et al. 2015).

python main.py --config configs/distmult.py:data=kg:FILE.tar.gz
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    common.graph(c)
    c.method = "distmult"
    return c
