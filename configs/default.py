"""The demonstration: drawn characters to real handwriting, five labels a class, three ways, three seeds.

    python main.py

A ResNet-20 that has only seen characters drawn from fonts (configs/pretrain_glyphs.py; bundled) meets the 1,797
handwritten digits that come with scikit-learn: 50 labelled images to learn from, 900 to be tested on.
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.data = "digits"
    c.labels_per_class = 5
    c.image_size = 16
    c.resize = 16
    c.batch_size = 48
    c.train_transforms = (
        ("rotation", {"degrees": 10.0}),
        ("shear", {"degrees": 10.0}),
        ("zoom", {"scale": (0.85, 1.1)}),
    )
    c.eval_batch_size = 240
    c.seeds = (0, 1, 2)
    c.variants = {
        "scratch": {
            "weights": "none",
            "steps": 120,
            "schedule": {"lr": 3e-3, "warmup": 10},
            "optim": {"weight_decay": 0.05},
        },
        "probe": {
            "groups": (("head", {}), ("backbone", None)),
            "steps": 120,
            "schedule": {"lr": 1e-2},
        },
        "finetune": {
            "groups": (("head", {"lr": 3.0}), ("backbone", {})),
            "steps": 120,
            "schedule": {"lr": 1.5e-3, "warmup": 10},
            "optim": {"weight_decay": 0.05},
        },
    }
    c.eval_every = 60
    return c
