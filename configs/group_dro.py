"""Group distributionally robust optimisation (Sagawa et al. 2020); everything else as in erm.py.

python main.py --config configs/group_dro.py
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.method = "group_dro"
    return c
