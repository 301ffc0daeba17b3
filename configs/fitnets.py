"""FitNets (Romero et al. 2015): a small network learns from a map and the answers of a large one.

python main.py --config configs/fitnets.py:model=resnet20_cifar,data=npz:FILE --config.teacher.weights=run:W
"""

from configs import scratch


def get_config(arg):
    c = scratch.get_config(arg)
    c.method = "fitnets"
    return c
