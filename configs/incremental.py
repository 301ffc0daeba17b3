"""Class-incremental learning: five groups of classes one after the other, by plain fine-tuning, which forgets.

    python main.py --config configs/incremental.py:data=npz:FILE

The summary gives, after every stage, the accuracy on each group so far, and at the end their mean and what was
forgotten: among all classes (`groups/`) and where an image's group is known (`known_group/`).
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.increments = 5
    c.train_transforms = (("flip", {}), ("shift", {}))
    c.optim.name = "sgd"
    c.optim.weight_decay = 1e-4
    c.optim.clip = 5.0
    c.schedule.lr = 0.03
    c.epochs = 5
    return c
