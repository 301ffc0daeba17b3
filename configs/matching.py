"""Matching networks: attention over the few labelled images of an episode.

python main.py --config configs/matching.py
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.method = "matching"
    common.episodes(c, arg, batch=1, train_way=20, train_query=5)
    return c
