"""Maximum classifier discrepancy (Saito et al. 2018); everything else as in source_only.py.

python main.py --config configs/mcd.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "mcd"
    return c
