"""Co-Tuning (You et al. 2020): the weights' own classifier learns along; else as in finetune.py.

python main.py --config configs/co_tuning.py:model=resnet50,data=folder:DIR
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.method = "co_tuning"
    return c
