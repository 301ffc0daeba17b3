"""Nested selection: images that choose are not those that test."""

import json

import numpy as np
import pytest
import toy

from tl import config, nested
from tl.errors import InputError
from tl.inputs import open_data

TWO = {"slow": {"schedule": {"lr": 1e-4}}, "fast": {"schedule": {"lr": 3e-2}}}


def names(outer, fold, folds=3):
    chosen = toy.toy_config(outer=(outer, 3), fold=fold, folds=folds, labels_per_class=0)
    return {split: set(part.names) for split, part in open_data(chosen).splits.items()}


def test_no_image_that_tests_is_trained_on_or_chooses():
    cuts = [names(outer, fold) for outer in range(3) for fold in range(3)]
    for cut in cuts:
        assert not cut["test"] & (cut["train"] | cut["val"])
        assert not cut["train"] & cut["val"]
    whole = cuts[0]["test"] | cuts[0]["train"] | cuts[0]["val"]
    assert set().union(*(cut["test"] for cut in cuts)) == whole  # every image tests once
    assert set().union(*(cut["val"] for cut in cuts[:3])) == whole - cuts[0]["test"]
    assert all(cut["test"] == cuts[0]["test"] for cut in cuts[:3])


def test_the_best_of_the_inner_means():
    inside = {"a/val/accuracy": 0.8, "b/val/accuracy": 0.9, "a/val/loss": 0.2, "b/val/loss": 0.3}
    assert nested.choose(inside, ["a", "b"], "val/accuracy") == "b"
    assert nested.choose(inside, ["a", "b"], "val/loss") == "a"
    with pytest.raises(InputError, match=r"the variant 'a' has no 'val/f1' to be chosen by"):
        nested.choose(inside, ["a", "b"], "val/f1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nested": 1}, r"config.nested=1: the folds inside a fold must be 2 or more"),
        ({"nested": 2}, r"both need two or more"),
        ({"nested": 2, "folds": 2, "variants": TWO, "seeds": (0, 1)}, r"leave config.seeds and config.stages empty"),
    ],
)
def test_what_cannot_be_nested(changes, said):
    with pytest.raises(InputError, match=said):
        nested.check(config.load("configs/probe.py", changes))


@toy.SLOW
def test_a_nested_run(tmp_path):
    chosen = toy.toy_config("configs/scratch.py", **toy.LENET, nested=2, folds=2, variants=TWO, steps=4, eval_every=4)
    from tl import build

    summary = build.run(chosen, tmp_path / "run", quiet=True)
    ends = [json.loads((tmp_path / "run" / f"fold{k}" / "chosen" / "summary.json").read_text()) for k in (0, 1)]
    assert summary["test/accuracy"] == pytest.approx(np.mean([end["test/accuracy"] for end in ends]))
    assert summary["test/accuracy/std"] == pytest.approx(np.std([end["test/accuracy"] for end in ends], ddof=1))
    assert "fold1/chosen/report.html" in (tmp_path / "run" / "report.html").read_text()
    assert sum(summary.get(f"chosen/{name}", 0) for name in TWO) == 2
    inside = json.loads((tmp_path / "run" / "fold0" / "inside" / "summary.json").read_text())
    best = nested.choose(inside, list(TWO), "val/accuracy")
    held = json.loads((tmp_path / "run" / "fold0" / "chosen" / "config.json").read_text())
    assert held["schedule"]["lr"] == TWO[best]["schedule"]["lr"]
