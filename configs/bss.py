"""Batch spectral shrinkage (Chen et al. 2019): fine-tuning whose weakest features shrink; else as in finetune.py.

python main.py --config configs/bss.py:model=resnet50,data=folder:DIR
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.method = "bss"
    return c
