"""Bi-Tuning (Zhong et al. 2020): two views of each image, learnt from each other's keys; else as in finetune.py.

python main.py --config configs/bi_tuning.py:model=resnet50,data=folder:DIR
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.method = "bi_tuning"
    c.strong_transforms = c.train_transforms
    return c
