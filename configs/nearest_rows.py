"""A classifier's rows for classes never seen, from those of the nearest in WordNet: a baseline, without training.

TL_DATA=FOLDER python main.py --config configs/nearest_rows.py
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    common.zero_shot(c)
    c.method = "nearest_rows"
    c.groups = ()
    c.steps = 0
    return c
