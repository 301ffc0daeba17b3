"""RotNet: features say how an image was turned; then few labels, as in few_labels.py.

python main.py --config configs/rotnet.py[:then=probe]
"""

from configs import few_labels


def get_config(arg):
    return few_labels.pretrained(arg, "rotnet")
