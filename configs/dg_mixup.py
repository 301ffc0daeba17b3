"""Mixup between all domains (Zhang et al. 2018); everything else as in erm.py.

python main.py --config configs/dg_mixup.py
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.method_args = {"mixup": 0.2}
    return c
