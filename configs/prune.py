"""Pruning a finished network and fine-tuning what is left (Han et al. 2015).

    python main.py --config configs/prune.py:model=resnet20_cifar,weights=run:W,data=npz:FILE

Of all kernels of the backbone together, the 80 % nearest to 0 go before the first step; summary.json counts them.
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.prune.share = 0.8
    c.groups = ((".*", {}),)
    c.evaluate_before = True
    c.epochs = 5
    return c
