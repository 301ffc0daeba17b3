"""Mean Teacher: the answer of a network that slowly follows is learnt from; everything else as in few_labels.py.

python main.py --config configs/mean_teacher.py
"""

from configs import few_labels


def get_config(arg):
    c = few_labels.get_config(arg)
    c.method = "mean_teacher"
    c.strong_transforms = c.train_transforms
    return c
