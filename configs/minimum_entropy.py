"""Entropy minimisation on the target (Grandvalet and Bengio 2005); everything else as in source_only.py.

python main.py --config configs/minimum_entropy.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "minimum_entropy"
    return c
