"""MixMatch: sharpened guesses and mixtures of images with and without labels; everything else as in few_labels.py.

python main.py --config configs/mixmatch.py
"""

from configs import few_labels


def get_config(arg):
    c = few_labels.get_config(arg)
    c.method = "mixmatch"
    c.strong_transforms = c.train_transforms
    return c
