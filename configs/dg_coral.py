"""CORAL between the labelled domains (DomainBed's form); everything else as in erm.py.

python main.py --config configs/dg_coral.py
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.method = "coral"
    c.method_args = {"means": True, "adapt": False}
    return c
