"""VGG-16 without its top, flattened, a hidden layer of 1,024: SGD 1e-4, momentum 0.9, every layer moves.

    python main.py --config configs/recipes/vgg16_flatten.py:data=folder:DIR

The test set is evaluated before and after. Not run here: the ImageNet weights have to be fetched. `smoke=true` takes
seconds.
"""

from configs import common
from configs.recipes import smoke


def get_config(arg):
    c = common.get_config()
    c.model = "vgg16"
    c.model_args = {"top": False}
    c.head.pool = "flatten"
    c.head.hidden = (1024,)
    c.head.dropout = 0.5
    c.train_transforms = (("random_resized_crop", {"scale": (0.5, 1.0)}), ("flip", {}))
    c.optim.name = "sgd"
    c.schedule.name = "constant"
    c.schedule.lr = 1e-4
    c.batch_size = 32
    c.epochs = 20
    c.evaluate_before = True
    return smoke.shrink(c, arg)
