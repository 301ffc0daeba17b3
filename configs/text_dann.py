"""Domain-adversarial training (Ganin et al. 2016) from one set of sentences to another without labels.

    TL_DATA=FOLDER python main.py --config configs/text_dann.py

By default from the reviews of MR to those of SST-2, which are of the same films: sentences that are in both are left
out of the source, or their labels would be known. That is most of it: 7,115 of MR's 9,596 training sentences, which
leaves 2,481; from SST-2 to MR 1,254 are left. It shows that the method runs, and is no measure of it.
"""

from configs import text_cnn


def get_config(arg):
    c = text_cnn.get_config(arg)
    c.data = "tsv:$TL_DATA/text/mr.tsv"
    c.target = "tsv:$TL_DATA/text/sst2_train.tsv"
    c.bottleneck.width = 64
    c.method = "dann"
    c.method_args = {"hidden": (128,)}
    c.select = "score/information"
    return c
