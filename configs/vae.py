"""Variational autoencoder: features say which normal distribution stands for an image; then few labels.

python main.py --config configs/vae.py[:then=probe]
"""

from configs import few_labels


def get_config(arg):
    return few_labels.pretrained(arg, "vae")
