"""Matching networks: attention over the few labelled images of an episode; everything else as in protonet.py.

python main.py --config configs/matching.py
"""

from configs import protonet


def get_config(arg):
    c = protonet.get_config(arg)
    c.method = "matching"
    return c
