"""Three labelled images of each class of the target, one more domain to learn from, and MCC on the others.

python main.py --config configs/semi_supervised_target.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "mcc"
    c.target_labels = 3
    return c
