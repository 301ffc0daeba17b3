"""Relation networks: how alike two images are is learnt, too.

python main.py --config configs/relation.py
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.method = "relation"
    common.episodes(c, arg, batch=2, query=5)
    c.model_args = {"pools": 2}  # two maps of 7 x 7 pixels are compared
    return c
