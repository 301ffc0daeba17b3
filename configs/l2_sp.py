"""L2-SP (Li et al. 2018): fine-tuning whose weights decay towards their start; else as in finetune.py.

python main.py --config configs/l2_sp.py:model=resnet50,data=folder:DIR
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.method = "l2_sp"
    c.optim.weight_decay = 0.0  # the method has its own
    return c
