"""GradNorm: several tasks whose gradients are kept alike; everything else as in multi_task.py.

python main.py --config configs/gradnorm.py:data=npz:FILE
"""

from configs import multi_task


def get_config(arg):
    c = multi_task.get_config(arg)
    c.method = "gradnorm"
    return c
