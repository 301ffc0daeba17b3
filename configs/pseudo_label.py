"""Self-training with pseudo-labels (Lee 2013); everything else as in source_only.py.

python main.py --config configs/pseudo_label.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "pseudo_label"
    return c
