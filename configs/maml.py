"""MAML: a start from which a few steps on an episode's few labelled images are enough.

python main.py --config configs/maml.py
python main.py --config configs/maml.py:method_args.first_order=True
python main.py --config configs/maml.py:method_args.only=head
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.method = "maml"
    # One step of 0.4, as in the paper, is still at chance where these tell characters apart.
    c.method_args = {"rate": 0.1, "steps": 5, "test_steps": 10}
    common.episodes(c, arg, batch=4)
    c.model_args = {"norm": "group"}  # an image's features depend on no other image
    c.optim.clip = 10.0
    return c
