"""SimCLR: features of two views are alike; then few labels, as in few_labels.py.

python main.py --config configs/simclr.py[:then=probe]
"""

from configs import few_labels


def get_config(arg):
    c = few_labels.pretrained(arg, "simclr", temperature=0.5, hidden=128)
    c.train_transforms = c.strong_transforms
    return c
