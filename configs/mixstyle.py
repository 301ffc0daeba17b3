"""MixStyle (Zhou et al. 2021); everything else as in erm.py.

python main.py --config configs/mixstyle.py
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.method = "mixstyle"
    return c
