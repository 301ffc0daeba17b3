"""SimpleShot: a plain classifier of known classes; unseen ones by the nearest mean of its features.

python main.py --config configs/nearest_mean.py
python main.py --config configs/nearest_mean.py:method_args.finetune=100
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.method = "nearest_mean"
    common.episodes(c, arg)
    return c
