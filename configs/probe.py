"""Linear probe: a new head on frozen features; statistics stay frozen with the weights.

python main.py --config configs/probe.py:model=resnet50,data=folder:DIR
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.groups = (("head.*", {}), (".*", None))
    c.optim.name = "adam"
    c.optim.weight_decay = 1e-4
    c.schedule.lr = 3e-3
    c.epochs = 20
    return c
