"""LoRA (Hu et al. 2022): two thin matrices are learnt beside each kernel, and the head; else as in finetune.py.

python main.py --config configs/lora.py:model=resnet50,data=folder:DIR
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.lora.rank = 8
    c.groups = ((".*/lora_[ab]$", {}), ("backbone", None), (".*", {}))
    c.optim.name = "adamw"
    c.schedule.lr = 1e-3
    return c
