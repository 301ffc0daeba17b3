"""Sentences: a small BERT (MiniLM) fine-tuned, every layer moves, the new head ten times faster.

    python main.py --config configs/text.py:data=tsv:FILE
    python main.py --config configs/text.py:data=tsv:FILE,weights=file:FOLDER   # of prepare_data.py minilm

FILE has lines label TAB sentence; NAME_train.tsv brings NAME_dev.tsv and NAME_test.tsv along. The files text_*.py are
other ways to train on the same data; `model=bert` and `model=distilbert` other networks.
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.model = "minilm"
    c.weights = "known"
    c.data = "tsv:$TL_DATA/text/trec_train.tsv"
    c.groups = (("head.*", {"lr": 10.0}), (".*", {}))
    c.optim.weight_decay = 1e-2
    c.optim.clip = 1.0
    c.schedule.name = "linear"
    c.schedule.lr = 1e-4
    c.schedule.warmup = 20
    c.epochs = 3
    c.eval_batch_size = 128
    return c
