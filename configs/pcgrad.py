"""PCGrad: several tasks whose gradients do not pull against each other; everything else as in multi_task.py.

python main.py --config configs/pcgrad.py:data=npz:FILE
"""

from configs import multi_task


def get_config(arg):
    c = multi_task.get_config(arg)
    c.method = "pcgrad"
    return c
