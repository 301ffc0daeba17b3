"""Stepwise adaptive feature norm (Xu et al. 2019); everything else as in source_only.py.

python main.py --config configs/afn.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "afn"
    return c
