"""Class-incremental learning by nearest class means and kept images (iCaRL, Rebuffi et al. 2017).

python main.py --config configs/icarl.py:data=npz:FILE
"""

from configs import incremental


def get_config(arg):
    c = incremental.get_config(arg)
    c.method = "icarl"
    c.exemplars = 20
    return c
