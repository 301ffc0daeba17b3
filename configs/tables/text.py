"""Sentences: vectors of words and windows over them against a small BERT, probed, fine-tuned and with LoRA.

python scripts/prepare_data.py minilm --out minilm
TL_DATA=FOLDER TL_MINILM=minilm python scripts/table.py configs/tables/text.py
"""

SETS = {
    "TREC": {"data": "tsv:$TL_DATA/text/trec_train.tsv", "text.length": 24, "val_fraction": 0.02},
    "SST-2": {"data": "tsv:$TL_DATA/text/sst2_train.tsv", "text.length": 48},
    "MR": {"data": "tsv:$TL_DATA/text/mr.tsv", "text.length": 48, "val_fraction": 0.02},
}
MINILM = {"weights": "file:$TL_MINILM"}
# Way -> config, what it sets, and its steps at 10 and 100 labels a class; in full it goes through the data in epochs.
WAYS = {
    "windows over GloVe": ("text_cnn", {"text.length": 0}, (100, 200)),
    "MiniLM, frozen": ("text_probe", {**MINILM, "keep_features": True}, (200, 300)),
    "MiniLM, LoRA": ("text_lora", MINILM, (60, 120)),
    "MiniLM, fine-tuned": ("text", MINILM, (60, 120)),
}
SLOW = ("MiniLM, LoRA", "MiniLM, fine-tuned")  # the encoder runs at every step, and learns
LABELS = {10: 0, 100: 1, 0: None}
# Of MR, which has no test of its own: a tenth is tested, the others train, as in Kim 2014.
FOLDS = tuple({"outer": (number, 10)} for number in range(10))


def cell(way: str, name: str, labels: int) -> dict:
    """One way on a set with so many labels a class, 0 for all."""
    config, own, steps = WAYS[way]
    few = LABELS[labels]
    if name == "TREC":  # its rarest class has 86 questions
        labels = min(labels, 50)
    amount = {} if few is None else {"labels_per_class": labels, "steps": steps[few]}
    if amount and way in SLOW:
        amount["batch_size"] = 16
    return {
        "method": way,
        "setting": f"{name}, {f'{labels} labels a class' if labels else 'all labels'}",
        "config": f"configs/{config}.py",
        "overrides": {**SETS[name], **own, **amount, "eval_every": 10**6},
        **({"repeats": FOLDS} if name == "MR" and not labels else {}),
    }


def get_config(full: bool) -> dict:
    """Three seeds, or MR's ten folds. What moves the encoder by all labels takes hours: in the full table."""
    order = [(labels, way) for way in WAYS for labels in LABELS if labels or way not in SLOW]
    cells = [cell(way, name, labels) for labels, way in order for name in SETS]
    if full:
        cells += [cell(way, name, 0) for way in SLOW for name in SETS]
    return {
        "name": "text",
        "title": "Sentences",
        "metrics": ["test/accuracy"],
        "columns": {"test/accuracy": "accuracy"},
        "seconds_per_cell": 33,
        "seeds": [0, 1, 2],
        "cells": cells,
        "notes": (
            "TREC: 5,452 questions of six kinds, 500 tested; SST-2: 6,920 sentences of reviews, good or bad, 1,821 "
            "tested; MR: 10,662 of the same kind, a fifth tested and, where all labels train, each tenth in turn, ten "
            "runs in place of three seeds. GloVe of 25 numbers, from tweets, of 11,925 words; MiniLM of 6 layers, 384 "
            "wide, trained on pairs of sentences (all-MiniLM-L6-v2), which reads 24 pieces of a question and 48 of a "
            "sentence. At 10 and 100 labels a class (50 of TREC, whose rarest has 86) windows take 100 and 200 steps, "
            "the frozen encoder 200 and 300, the others 60 and 120 of 16; with all labels 10, 30 and 3 epochs. What "
            "moves the encoder by all labels is part of --full. The last step is tested; settings were looked at with "
            "seed 10 alone."
        ),
    }
