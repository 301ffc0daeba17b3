"""Adaptation by matching features and predictions together (Long et al. 2017); everything else as in source_only.py.

python main.py --config configs/jan.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "jan"
    return c
