"""Class-incremental learning with elastic weight consolidation (Kirkpatrick et al. 2017); else as in incremental.py.

python main.py --config configs/ewc.py:data=npz:FILE
"""

from configs import incremental


def get_config(arg):
    c = incremental.get_config(arg)
    c.method = "ewc"
    c.exemplars = 20  # of each class: the Fisher information is measured on them
    return c
