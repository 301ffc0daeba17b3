"""PCGrad: several tasks whose gradients do not pull against each other; everything else as in multi_task.py.

python main.py --config configs/pcgrad.py:data=npz:FILE

In configs/tables/multitask.py, 20 labelled MNIST images a digit, 3 seeds: digit .913 +- .009, thickness .40 +- .06
and slant .084 +- .009 of error (commit d1e7b0c, 21 s a run).
"""

from configs import multi_task


def get_config(arg):
    c = multi_task.get_config(arg)
    c.method = "pcgrad"
    return c
