"""Distillation of a fine-tuned encoder to a network of windows over its own pieces of words (Hinton et al. 2015).

python main.py --config configs/text_distill.py:data=tsv:FILE --config.teacher.weights=run:runs/text
"""

from configs import text_cnn


def get_config(arg):
    c = text_cnn.get_config(arg)
    c.weights = "none"
    c.model_args = {"width": 100}
    c.method = "distill"
    return c
