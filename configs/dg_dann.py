"""Features that tell the labelled domains not apart (DomainBed's DANN); everything else as in erm.py.

python main.py --config configs/dg_dann.py
"""

from configs import erm


def get_config(arg):
    c = erm.get_config(arg)
    c.method = "dann"
    c.method_args = {"hidden": (128, 128), "adapt": False}
    return c
