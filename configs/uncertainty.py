"""Several tasks, weighed by learnt uncertainties; everything else as in multi_task.py.

python main.py --config configs/uncertainty.py:data=npz:FILE
"""

from configs import multi_task


def get_config(arg):
    c = multi_task.get_config(arg)
    c.method = "uncertainty"
    return c
