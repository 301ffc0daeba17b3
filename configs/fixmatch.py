"""FixMatch from one domain to another (Sohn et al. 2020); everything else as in source_only.py.

python main.py --config configs/fixmatch.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "fixmatch"
    c.train_transforms = (("shift", {}),)
    c.strong_transforms = (
        ("rotation", {"degrees": 20.0}),
        ("shear", {"degrees": 20.0}),
        ("zoom", {"scale": (0.7, 1.2)}),
    )
    return c
