"""Relational distillation (Park et al. 2019): images lie to each other as in a large network.

python main.py --config configs/relational.py:model=resnet20_cifar,data=npz:FILE --config.teacher.weights=run:W
"""

from configs import scratch


def get_config(arg):
    c = scratch.get_config(arg)
    c.method = "relational"
    return c
