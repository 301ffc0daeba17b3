"""Barlow Twins: features of two views agree, and are not redundant; then few labels, as in few_labels.py.

python main.py --config configs/barlow.py[:then=probe]
"""

from configs import few_labels


def get_config(arg):
    c = few_labels.pretrained(arg, "barlow", width=256)
    c.train_transforms = c.strong_transforms
    return c
