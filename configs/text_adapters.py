"""Adapters between an encoder's layers (Houlsby et al. 2019, arXiv:1902.00751): these, the norms and the head learn.

python main.py --config configs/text_adapters.py:data=tsv:FILE

`model_args.adapter` is their width; configs/adapters.py has those beside a kernel, which can be added to it.
"""

from configs import text


def get_config(arg):
    c = text.get_config(arg)
    c.model_args = {"adapter": 64}
    c.groups = ((r".*/adapter\d/", {}), (r".*/norm\d/", {}), ("backbone", None), (".*", {}))
    c.schedule.lr = 1e-3
    return c
