"""From scratch: the same network with random weights, which is what transfer has to beat.

python main.py --config configs/scratch.py:model=resnet20_cifar,data=npz:FILE
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.weights = "none"
    c.train_transforms = (("random_resized_crop", {"scale": (0.35, 1.0)}), ("flip", {}))
    c.optim.name = "adamw"
    c.optim.weight_decay = 1e-2
    c.schedule.lr = 3e-3
    c.schedule.warmup = 20
    c.optim.clip = 5.0
    c.epochs = 30
    return c
