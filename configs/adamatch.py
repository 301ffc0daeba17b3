"""AdaMatch, FixMatch for two domains (Berthelot et al. 2022); everything else as in fixmatch.py.

python main.py --config configs/adamatch.py
"""

from configs import fixmatch


def get_config(arg):
    c = fixmatch.get_config(arg)
    c.method = "adamatch"
    return c
