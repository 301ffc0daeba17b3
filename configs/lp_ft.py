"""Probe, then fine-tune (LP-FT, Kumar et al. 2022): a head that fits before the features begin to move.

    python main.py --config configs/lp_ft.py:model=resnet50,data=folder:DIR

Two stages of the one loop; statistics are frozen in the first, where the weights are, and move in the second.
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.stages = (
        {
            "groups": (("head", {}), ("backbone", None)),
            "optim": {"name": "adam"},
            "schedule": {"lr": 3e-3},
            "epochs": 10,
        },
        {"groups": ((".*", {}),), "schedule": {"lr": 1e-3}, "epochs": 15},
    )
    return c
