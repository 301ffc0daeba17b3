"""ResNet-50 on CIFAR-10: global average pooling, a hidden layer of 256, AdamW; every layer moves.

    python main.py --config configs/recipes/cifar10_resnet50.py:data=tfds:cifar10@DIR

Batch 32, learning rate 1e-3, weight decay 1e-4, 50 epochs; confusion matrix and class report after every epoch in
`class_report/`; the test set is evaluated before and after. Not run here: the ImageNet weights have to be fetched.
`smoke=true` takes seconds: a narrow network with random weights on handwritten digits.
"""

from configs import common
from configs.recipes import smoke


def get_config(arg):
    c = common.get_config()
    c.model = "resnet50"
    c.data = "npz:cifar10.npz"
    c.head.hidden = (256,)
    c.train_transforms = (("random_crop", {"pad": 28}), ("flip", {}))
    c.optim.name = "adamw"
    c.optim.weight_decay = 1e-4
    c.schedule.name = "constant"
    c.schedule.lr = 1e-3
    c.batch_size = 32
    c.epochs = 50
    c.eval_every = 0
    c.class_report = True
    c.evaluate_before = True
    return smoke.shrink(c, arg)
