"""Reptile: a start near to where a few steps on any episode lead.

python main.py --config configs/reptile.py
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.method = "reptile"
    common.episodes(c, arg, batch=4)
    c.model_args = {"norm": "group"}  # an image's features depend on no other image
    return c
