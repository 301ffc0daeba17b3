"""Adaptation by matching means under kernels (Long et al. 2015); everything else as in source_only.py.

python main.py --config configs/dan.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "dan"
    return c
