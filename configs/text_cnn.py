"""Kim's network of windows (2014, arXiv:1408.5882) over vectors of words, which move too.

    python main.py --config configs/text_cnn.py:data=tsv:FILE,weights=file:glove.6B.100d.txt
    python main.py --config configs/text_cnn.py:data=tsv:FILE,weights=none    # all words of the training sentences

The weights are GloVe's own format, or an .npz of `words` and `vectors`. `--config.model=lstm` reads word by word;
vectors stay as they are with `--config.groups='(("backbone/embedding", None), (".*", {}))'`.
"""

from configs import text


def get_config(arg):
    c = text.get_config(arg)
    c.model = "textcnn"
    c.weights = "file:$TL_DATA/text/glove_twitter_25d_12k.npz"
    c.groups = ((".*", {}),)
    c.optim.weight_decay = 1e-3
    c.schedule.lr = 2e-3
    c.epochs = 10
    c.batch_size = 64
    return c
