"""Virtual adversarial training: the answer holds against the worst small push; everything else as in few_labels.py.

python main.py --config configs/vat.py
"""

from configs import few_labels


def get_config(arg):
    c = few_labels.get_config(arg)
    c.method = "vat"
    return c
