"""CDAN+E, which weighs rows by how sure they are (Long et al. 2018, eq. 8); everything else as in cdan.py.

python main.py --config configs/cdan_e.py
"""

from configs import cdan


def get_config(arg):
    c = cdan.get_config(arg)
    c.method_args = {"hidden": (128, 128), "entropy": True}
    return c
