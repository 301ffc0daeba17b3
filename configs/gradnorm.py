"""GradNorm: several tasks whose gradients are kept alike; everything else as in multi_task.py.

python main.py --config configs/gradnorm.py:data=npz:FILE

In configs/tables/multitask.py, 20 labelled MNIST images a digit, 3 seeds: digit .910 +- .005, thickness .34 +- .04
and slant .062 +- .005 of error (commit d1e7b0c, 18 s a run).
"""

from configs import multi_task


def get_config(arg):
    c = multi_task.get_config(arg)
    c.method = "gradnorm"
    return c
