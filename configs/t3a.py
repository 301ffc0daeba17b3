"""T3A (Iwasawa and Matsuo 2021): templates in place of the classifier, made of test images while they are answered.

    python main.py --config configs/t3a.py
    python main.py --config configs/t3a.py:model=resnet50,weights=run:W,data=folder:DIR

method_args.supports is how many of each class are kept. No parameter moves, and batch norm keeps its statistics
(frozen_stats=none: takes those of each batch). The rest is as in configs/tent.py.
"""

from configs import tent


def get_config(arg):
    c = tent.get_config(arg)
    c.method = "t3a"
    c.groups = ((".*", None),)
    return c
