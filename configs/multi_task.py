"""Multi-task learning: which digit it is, how thick and how slanted its stroke, by one backbone with three heads.

python main.py --config configs/multi_task.py:data=npz:FILE

In configs/tables/multitask.py, 20 labelled MNIST images a digit, 3 seeds: digit .913 +- .007, thickness .38 +- .06
and slant .082 +- .007 of error; one network each: .919, .57, .080 (commit d1e7b0c, 13 s a run).
"""

from configs import scratch


def get_config(arg):
    c = scratch.get_config(arg)
    c.tasks = (("digit", {}), ("thickness", {"of": "thickness"}), ("slant", {"of": "slant"}))
    c.train_transforms = ()
    return c
