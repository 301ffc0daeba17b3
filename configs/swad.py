"""SWAD (Cha et al. 2021): the mean of the weights of every step in a valley of the validation loss; else as in erm.py.

    python main.py --config configs/swad.py

It goes with any method: `--config.swad=3,6,0.3 --config.select=` for each config beside this one.
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.swad = (3, 6, 0.3)
    c.select = ""
    c.schedule.name = "constant"  # as in the paper: a rate that falls keeps the weights from moving apart
    c.eval_every = 25
    return c
