"""Learning without forgetting (Li and Hoiem 2016): the weights' own classifier is kept true; else as in finetune.py.

python main.py --config configs/lwf.py:model=resnet50,data=folder:DIR
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.method = "lwf"
    return c
