"""Dynamic weight average: of several tasks the one that falls slowly counts more; everything else as in multi_task.py.

python main.py --config configs/dwa.py:data=npz:FILE
"""

from configs import multi_task


def get_config(arg):
    c = multi_task.get_config(arg)
    c.method = "dwa"
    return c
