"""Class-incremental learning without forgetting (Li and Hoiem 2016): no earlier image is kept.

python main.py --config configs/lwf_incremental.py:data=npz:FILE
"""

from configs import incremental


def get_config(arg):
    c = incremental.get_config(arg)
    c.method = "lwf_incremental"
    return c
