"""Denoising autoencoder: clean images are drawn from the features of noisy ones; then few labels.

python main.py --config configs/denoising.py[:then=probe]
"""

from configs import few_labels


def get_config(arg):
    return few_labels.pretrained(arg, "autoencoder", noise=0.5)
