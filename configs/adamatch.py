"""AdaMatch, FixMatch for two domains (Berthelot et al. 2022); everything else as in source_only.py.

python main.py --config configs/adamatch.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "adamatch"
    c.train_transforms = (("shift", {}),)
    c.strong_transforms = (
        ("rotation", {"degrees": 20.0}),
        ("shear", {"degrees": 20.0}),
        ("zoom", {"scale": (0.7, 1.2)}),
    )
    return c
