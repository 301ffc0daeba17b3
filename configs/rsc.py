"""Representation self-challenging (Huang et al. 2020); everything else as in erm.py.

python main.py --config configs/rsc.py
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.method = "rsc"
    return c
