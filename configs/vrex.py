"""Risk extrapolation (Krueger et al. 2021); everything else as in erm.py.

python main.py --config configs/vrex.py
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.method = "vrex"
    return c
