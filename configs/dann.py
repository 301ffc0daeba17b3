"""Domain-adversarial training (Ganin et al. 2016); everything else as in source_only.py.

python main.py --config configs/dann.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "dann"
    c.method_args = {"hidden": (128, 128)}
    return c
