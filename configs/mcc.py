"""Minimum class confusion (Jin et al. 2020); everything else as in source_only.py.

python main.py --config configs/mcc.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "mcc"
    return c
