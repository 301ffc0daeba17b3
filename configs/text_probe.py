"""A linear probe on sentences: a new head on the frozen encoder's features, which are computed once.

python main.py --config configs/text_probe.py:data=tsv:FILE
"""

from configs import text


def get_config(arg):
    c = text.get_config(arg)
    c.model_args = {"dropout": 0.0}
    c.groups = (("head.*", {}), (".*", None))
    c.optim.name = "adam"
    c.optim.weight_decay = 1e-4
    c.schedule.lr = 1e-2
    c.epochs = 30
    return c
