"""ResNet-50 as a fixed feature extractor with a new last layer: SGD 1e-3, momentum 0.9, 10 epochs.

    python main.py --config configs/recipes/feature_extractor.py:data=folder:DIR

The recipe of the widely used tutorial on ants and bees (random resized crop, flip, step decay by 0.1 after 7 of 10
epochs, batch 4 there, 32 here). The test set is evaluated before and after. Not run here: the ImageNet weights have to
be fetched. `smoke=true` takes seconds.
"""

from configs import common
from configs.recipes import smoke


def get_config(arg):
    c = common.get_config()
    c.model = "resnet50"
    c.groups = (("head", {}), ("backbone", None))
    c.train_transforms = (("random_resized_crop", {}), ("flip", {}))
    c.optim.name = "sgd"
    c.optim.momentum = 0.9
    c.schedule.name = "step"
    c.schedule.boundaries = (0.7,)
    c.schedule.lr = 1e-3
    c.epochs = 10
    c.evaluate_before = True
    return smoke.shrink(c, arg)
