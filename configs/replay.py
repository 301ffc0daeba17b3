"""Class-incremental learning with experience replay (Chaudhry et al. 2019): 20 images of each class are kept.

python main.py --config configs/replay.py:data=npz:FILE
"""

from configs import incremental


def get_config(arg):
    c = incremental.get_config(arg)
    c.method = "replay"
    c.exemplars = 20
    return c
