"""Adaptation by matching means and covariances (Sun and Saenko 2016); everything else as in source_only.py.

python main.py --config configs/coral.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "coral"
    c.method_args = {"means": True}
    return c
