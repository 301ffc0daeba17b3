"""Multi-task learning: which digit it is, how thick and how slanted its stroke, by one backbone with three heads.

python main.py --config configs/multi_task.py:data=npz:FILE
"""

from configs import scratch


def get_config(arg):
    c = scratch.get_config(arg)
    c.tasks = (("digit", {}), ("thickness", {"of": "thickness"}), ("slant", {"of": "slant"}))
    c.train_transforms = ()
    return c
