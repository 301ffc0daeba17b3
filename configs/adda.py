"""Adversarial discriminative adaptation (Tzeng et al. 2017): first the source, then the target's encoder.

python main.py --config configs/adda.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.stages = (
        {},
        {
            "method": "adda",
            "groups": (("head", None), ("backbone", {"lr": 0.1}), (".*", {})),
            "schedule": {"lr": 3e-3},
        },
    )
    return c
