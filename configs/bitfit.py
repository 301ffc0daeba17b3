"""BitFit (Ben Zaken et al. 2022): biases and norms move, and the head; every kernel is frozen. Else as in finetune.py.

python main.py --config configs/bitfit.py:model=resnet50,data=folder:DIR
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.groups = (("backbone/.*(bias|scale)$", {}), ("backbone", None), (".*", {"lr": 10.0}))
    c.schedule.lr = 1e-2  # few parameters move: they may move further
    return c
