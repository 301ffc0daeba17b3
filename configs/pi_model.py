"""The Pi-model: two views of an image without a label get the same answer; everything else as in few_labels.py.

python main.py --config configs/pi_model.py
"""

from configs import few_labels


def get_config(arg):
    c = few_labels.get_config(arg)
    c.method = "pi_model"
    c.strong_transforms = c.train_transforms
    return c
