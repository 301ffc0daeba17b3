"""Adaptive batch normalisation (Li et al. 2016): first the source, then the target's statistics.

python main.py --config configs/adabn.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.stages = (
        {},
        {"method": "adabn", "groups": ((".*", None),), "frozen_stats": "none", "steps": 100},
    )
    return c
