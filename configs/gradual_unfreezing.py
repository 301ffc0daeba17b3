"""Gradual unfreezing (ULMFiT, Howard and Ruder 2018, section 3.3): the head, then stage after stage from the top.

    python main.py --config configs/gradual_unfreezing.py:model=resnet50,data=folder:DIR

Lower stages learn more slowly (`layer_decay`); batch-norm statistics stay frozen wherever the weights are.
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    model = arg.get("model", c.model)
    last = 3 if model.endswith("_cifar") else 4 if model.startswith(("resnet", "bit")) else 5 if "vgg" in model else 7
    c.optim.layer_decay = 0.9
    c.epochs = 4
    frozen = ("backbone", None)
    upper = [(rf"backbone/(stage[{top}-9]|fc\d|last|final)", {}) for top in (last, last - 1)]
    c.stages = (
        {"groups": (("head", {}), frozen)},
        {"groups": (("head", {}), upper[0], frozen)},
        {"groups": (("head", {}), upper[1], frozen)},
        {"groups": ((".*", {}),), "epochs": 8},
    )
    return c
