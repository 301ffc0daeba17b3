"""Invariant risk minimisation (Arjovsky et al. 2019); everything else as in erm.py.

python main.py --config configs/irm.py
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.method = "irm"
    return c
