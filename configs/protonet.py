"""Prototypical networks: drawn characters of unseen classes by the nearest mean of a few images of each.

python main.py --config configs/protonet.py
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.method = "protonet"
    common.episodes(c, arg, batch=1, train_way=20, train_query=5)
    return c
