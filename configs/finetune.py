"""Fine-tuning: pretrained weights, every layer moves, the new head ten times faster.

python main.py --config configs/finetune.py:model=resnet50,data=folder:DIR
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.groups = (("head.*", {"lr": 10.0}), (".*", {}))
    c.train_transforms = (("random_resized_crop", {"scale": (0.35, 1.0)}), ("flip", {}))
    c.optim.name = "sgd"
    c.optim.nesterov = True
    c.optim.weight_decay = 1e-4
    c.schedule.lr = 1e-3
    c.optim.clip = 5.0
    c.epochs = 15
    return c
