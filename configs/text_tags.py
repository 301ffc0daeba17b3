"""Tags of words, such as named entities: a small BERT and a head over every token (Devlin et al. 2019, section 5.3).

    python main.py --config configs/text_tags.py:data=conll:FILE,weights=file:FOLDER   # of prepare_data.py minilm

FILE, of your own, has a word a line, its tag in the last column, and an empty line behind each sentence: CoNLL-2003's
eng.train, which prepare_data.py does not fetch, brings eng.testa and eng.testb along, NAME_train.txt NAME_dev.txt and
NAME_test.txt. Tags are O and B-, I-, E- or S- before a type. `model=bert`, `model=distilbert` and `model=lstm`
(weights=file:glove.6B.100d.txt) are other networks; text_probe.py, text_lora.py and text_unfreezing.py learn tags too,
with task=tags,select=val/f1.
"""

from configs import text


def get_config(arg):
    c = text.get_config(arg)
    c.data = "conll:eng.train"  # of your own
    c.task = "tags"
    c.head.dropout = 0.1
    c.select = "val/f1"
    return c
