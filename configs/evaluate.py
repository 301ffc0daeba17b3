"""Evaluation only: the weights as they are, with their own classifier.

    python main.py --config configs/evaluate.py:model=resnet20_cifar,weights=file:F,data=npz:FILE

Several weights joined by + are averaged (`combine=soup`), or their predictions are (`combine=ensemble`).
`combine=interpolate` goes from the outputs of one, of the source, towards those of another, of the target.
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.classifier = "keep"
    c.groups = ((".*", None),)
    c.steps = 0
    c.batch_size = 128
    return c
