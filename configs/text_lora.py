"""LoRA on sentences: two thin matrices beside each kernel of the encoder, and the head; else as in text.py.

python main.py --config configs/text_lora.py:data=tsv:FILE
"""

from configs import text


def get_config(arg):
    c = text.get_config(arg)
    c.lora.rank = 8
    c.lora.layers = "backbone/layer"
    c.groups = ((".*/lora_[ab]$", {}), ("backbone", None), (".*", {}))
    c.schedule.lr = 1e-3
    return c
