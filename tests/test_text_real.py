"""Real sentences and a real encoder: skipped, saying so, without TL_DATA and TL_MINILM (`prepare_data.py minilm`)."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np
import pytest
from test_text_models import tree, words_of

from tl import models, text, weights
from tl.data import texts


def test_sizes_of_the_sets(tl_data):
    counts = {"trec_train": {"train": 5452, "test": 500}, "sst2_train": {"train": 6920, "val": 872, "test": 1821}}
    for name, wanted in {**counts, "mr": {"train": 10662}}.items():
        found = texts.tsv(str(tl_data / "text" / f"{name}.tsv"), "label")
        assert {split: len(rows) for split, rows in found.splits.items()} == wanted


def test_vectors_of_tweets(tl_data):
    loaded = weights.load(f"file:{tl_data / 'text' / 'glove_twitter_25d_12k.npz'}", "textcnn")
    assert loaded is not None
    assert loaded.flat["params/backbone/embedding/embedding"].shape == (11_927, 25)


def test_minilm_knows_what_is_alike():
    folder = os.environ.get("TL_MINILM")
    if not folder:
        pytest.skip("TL_MINILM is not set: the test on a real encoder did not run")
    loaded = weights.load(f"file:{folder}", "minilm")
    assert loaded is not None
    known = text.Text("wordpiece", words_of(loaded.preprocess), 16)
    assert known.tokens(["Hello, world!"]) == [[101, 7592, 1010, 2088, 999, 102]]
    rows, _ = known.rows(["A man is eating food.", "A man is eating a meal.", "The stock market fell."])
    module: Any = models.make("minilm", **loaded.arguments)
    features = np.asarray(jax.jit(module.apply)(tree(loaded.flat), rows)["pooled"])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.8
    assert abs(unit[0] @ unit[2]) < 0.2
