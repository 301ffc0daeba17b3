"""Parallel adapters (Rebuffi et al. 2018): a convolution of one pixel is learnt beside each of a frozen backbone's.

    python main.py --config configs/adapters.py:model=resnet50,data=folder:DIR

What is learnt is added to the kernels at the end: the run leaves an ordinary network.
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.adapters = "backbone/"
    c.groups = ((".*/adapter$", {}), ("backbone", None), (".*", {"lr": 10.0}))
    return c
