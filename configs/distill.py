"""Distillation (Hinton et al. 2015): a small network learns from a large one's answers.

python main.py --config configs/distill.py:model=resnet20_cifar,data=npz:FILE --config.teacher.weights=run:W
"""

from configs import scratch


def get_config(arg):
    c = scratch.get_config(arg)
    c.method = "distill"
    return c
