"""FlexMatch: sure guesses as labels, and what is sure is learnt for each class; everything else as in few_labels.py.

python main.py --config configs/flexmatch.py
"""

from configs import few_labels


def get_config(arg):
    c = few_labels.get_config(arg)
    c.method = "flexmatch"
    return c
