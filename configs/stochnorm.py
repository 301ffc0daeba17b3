"""StochNorm (Kou et al. 2020): batch norm by the batch or by what was before, at random; else as in finetune.py.

python main.py --config configs/stochnorm.py:model=resnet50,data=folder:DIR
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.method = "stochnorm"
    return c
