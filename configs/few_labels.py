"""Few labels alone: the figure that methods which also read images without labels must beat.

    python main.py --config configs/few_labels.py

By default four labels of each class of the embedded handwritten digits, from scratch; the files that begin with it
change the method, as `--config.method=fixmatch` does.
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.data = "digits"
    c.labels_per_class = 4
    c.unlabelled = True
    c.model = "resnet20_cifar"
    c.weights = "none"
    c.image_size = 16
    c.resize = 16
    c.train_transforms = (("shift", {}),)
    c.strong_transforms = (
        ("rotation", {"degrees": 20.0}),
        ("shear", {"degrees": 20.0}),
        ("zoom", {"scale": (0.7, 1.2)}),
        ("shift", {}),
    )
    c.batch_size = 40
    c.eval_batch_size = 240
    c.steps = 600
    c.eval_every = 100
    c.ema = 0.99
    c.optim.name = "sgd"
    c.optim.nesterov = True
    c.optim.weight_decay = 5e-4
    c.schedule.lr = 0.03
    return c


def pretrained(arg, method, **method_args):
    """First `method` learns from all images without labels; then, as above or as a probe (`then`), from the few.

    A flag is about the first stage, and about the second too unless `later` says otherwise.
    """
    c = get_config(arg)
    names = ("method", "batch_size", "steps", "eval_every", "ema", "train_transforms")
    later = {name: c[name] for name in names}
    later |= {"method_args": {}, "optim": c.optim.to_dict(), "schedule": c.schedule.to_dict()}
    if arg.get("then") == "probe":
        later |= {"groups": (("head.*", {}), (".*", None)), "ema": 0.0, "train_transforms": ()}
        later |= {"optim": {"name": "adam"}, "schedule": {"lr": 3e-3}}
    c.stages = ({}, later)
    c.method, c.method_args = method, method_args
    c.steps, c.eval_every, c.batch_size, c.ema = 1000, 250, 120, 0.0
    c.optim.update({"name": "adam", "nesterov": False, "weight_decay": 0.0})
    c.schedule.lr = 1e-3
    return c
