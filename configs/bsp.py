"""Domain-adversarial training with batch spectral penalisation (Chen et al. 2019); else as in dann.py.

python main.py --config configs/bsp.py
"""

from configs import source_only


def get_config(arg):
    c = source_only.get_config(arg)
    c.method = "dann"
    c.method_args = {"hidden": (128, 128), "singular": 1e-4}
    return c
