"""Several tasks, weighed by learnt uncertainties; everything else as in multi_task.py.

python main.py --config configs/uncertainty.py:data=npz:FILE

In configs/tables/multitask.py, 20 labelled MNIST images a digit, 3 seeds: digit .918 +- .005, thickness .37 +- .03
and slant .083 +- .006 of error (commit d1e7b0c, 13 s a run).
"""

from configs import multi_task


def get_config(arg):
    c = multi_task.get_config(arg)
    c.method = "uncertainty"
    return c
