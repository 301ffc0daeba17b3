"""Conditional adversarial adaptation (CDAN, Long et al. 2018); everything else as in source_only.py.

python main.py --config configs/cdan.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "cdan"
    c.method_args = {"hidden": (128, 128)}
    return c
