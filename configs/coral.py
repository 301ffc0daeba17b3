"""CORAL in the form of Gulrajani and Lopez-Paz 2021, which matches means too; everything else as in source_only.py.

`--config.method_args.means=False` is Sun and Saenko's own (2016, eq. 1), which of few features is very small.

python main.py --config configs/coral.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "coral"
    c.method_args = {"means": True}
    return c
