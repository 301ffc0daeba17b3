"""Margin disparity discrepancy (Zhang et al. 2019); everything else as in source_only.py.

python main.py --config configs/mdd.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "mdd"
    c.method_args = {"hidden": (128,)}
    return c
