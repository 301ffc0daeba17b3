"""Attention transfer (Zagoruyko and Komodakis 2017): a small network looks where a large one looks.

python main.py --config configs/attention_transfer.py:model=resnet20_cifar,data=npz:FILE --config.teacher.weights=run:W
"""

from configs import scratch


def get_config(arg):
    c = scratch.get_config(arg)
    c.method = "attention_transfer"
    return c
