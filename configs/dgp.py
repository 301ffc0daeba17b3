"""Dense graph propagation: a classifier's rows for classes never seen, of their places in WordNet (Kampffmeyer 2019).

TL_DATA=FOLDER python main.py --config configs/dgp.py
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    common.zero_shot(c)
    c.method = "dgp"
    c.method_args = {"hidden": 512, "scale": 16.0}
    c.optim.name, c.optim.weight_decay = "adam", 5e-4
    c.schedule.name, c.schedule.lr = "constant", 1e-3
    c.steps = 100
    return c
