"""Gradual unfreezing with discriminative rates (ULMFiT, Howard and Ruder 2018, arXiv:1801.06146, sections 3.2 and 3.3).

    python main.py --config configs/text_unfreezing.py:data=tsv:FILE

The head, then also the top layer, the top two and the top three, an epoch each, then everything at once for two. A
layer learns 2.6 times as slowly as the one above it. Of ULMFiT the fine-tuning of the language model and the slanted
triangular rates are not done. Without dropout in the encoder the layers that are still frozen run once.
"""

from configs import text


def get_config(arg):
    c = text.get_config(arg)
    c.head.dropout = 0.1
    c.optim.layer_decay = 1 / 2.6
    c.schedule.lr = 1e-3
    c.epochs = 1
    last = int(arg.get("model_args.layers", 12 if arg.get("model", c.model) == "bert" else 6))
    c.model_args = {"dropout": 0.0, "layers": last}  # weights of another depth are refused
    frozen = ("backbone", None)
    upper = [("|".join(f"backbone/layer{last - i}/" for i in range(count + 1)), {}) for count in range(3)]
    c.stages = (
        {"groups": (("head", {}), frozen)},
        *({"groups": (("head", {}), layers, frozen)} for layers in upper),
        {"groups": ((".*", {}),), "epochs": 2},
    )
    return c
