"""Autoencoder: images are drawn again from their features; then few labels, as in few_labels.py.

python main.py --config configs/autoencoder.py[:then=probe]
"""

from configs import few_labels


def get_config(arg):
    return few_labels.pretrained(arg, "autoencoder")
