"""ResNet-50 frozen, its last map flattened, a hidden layer of 1,024, on a folder of two classes; then a second task.

    python main.py --config configs/recipes/two_class_flatten.py:data=folder:FIRST --workdir runs/first
    python main.py --config configs/recipes/two_class_flatten.py:data=folder:SECOND,weights=run:runs/first

Shear, zoom and flip as augmentation; the second command starts from all that the first has learnt, head included. The
test set is evaluated before and after. Not run here: the ImageNet weights have to be fetched. `smoke=true`: seconds.
"""

from configs import common
from configs.recipes import smoke


def get_config(arg):
    c = common.get_config()
    c.model = "resnet50"
    c.groups = (("head", {}), ("backbone", None))
    c.head.pool = "flatten"
    c.head.hidden = (1024,)
    c.train_transforms = (("shear", {"degrees": 11.5}), ("zoom", {"scale": (0.8, 1.2)}), ("flip", {}))
    c.optim.name = "adam"
    c.schedule.name = "constant"
    c.schedule.lr = 1e-4
    c.batch_size = 32
    c.epochs = 10
    c.evaluate_before = True
    return smoke.shrink(c, arg)
