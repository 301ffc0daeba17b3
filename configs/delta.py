"""DELTA (Li et al. 2019): a probe, then fine-tuning whose maps stay near those of the start.

python main.py --config configs/delta.py:model=resnet50,data=folder:DIR
"""

from configs import lp_ft


def get_config(arg):
    c = lp_ft.get_config(arg)
    head_first, then = c.stages
    c.stages = (head_first, {**then, "method": "delta", "optim": {"weight_decay": 0.0}})
    return c
