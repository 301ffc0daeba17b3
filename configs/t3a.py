"""T3A (Iwasawa and Matsuo 2021): templates in place of the classifier, made of test images while they are answered.

    python main.py --config configs/t3a.py
    python main.py --config configs/t3a.py:model=resnet50,weights=run:W,data=folder:DIR

method_args.supports is how many of each class are kept. No parameter moves, and batch norm keeps its statistics
(frozen_stats=none: takes those of each batch). The rest is as in configs/tent.py.

In configs/tables/test_time.py, 3 seeds: .606 +- .032 as it was, .721 +- .024 online; with the statistics of each batch
.807 +- .010 (commit 6c332b6; 115 to 150 s on a busy core).
"""

from configs import tent


def get_config(arg):
    c = tent.get_config(arg)
    c.method = "t3a"
    c.groups = ((".*", None),)
    return c
