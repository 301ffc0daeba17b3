"""scripts/stack.py: backbones together, on data where it is known what each can say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scripts import stack

SMALL = ["--data", "digits", "--labels-per-class", "6", "--config.image_size=16", "--config.resize=16"]


def tables_of(informative: int, seed: int = 0):
    """Features of two networks of which each tells two of four classes apart."""
    rng = np.random.default_rng(seed)

    def table(n, kind):
        labels = np.arange(n) % 4
        signal = (labels // 2 if kind == 0 else labels % 2) * informative
        return {"features": rng.normal(size=(n, 5)) + signal[:, None], "label": labels}

    return {name: {"train": table(200, kind), "test": table(120, kind)} for kind, name in enumerate(("one", "two"))}


@pytest.mark.parametrize("way", [("", 0), ("pca", 2)])
def test_what_neither_knows_alone_both_know_together(way):
    rows = {row["features from"]: row for row in stack.joined(tables_of(4), way, 5, 0)}
    assert list(rows) == ["one", "two", "the mean of these", "all side by side", "stacked"]
    for alone in ("one", "two"):
        assert rows[alone]["test"] < 0.65  # half of the pairs are guessed
    for together in ("all side by side", "stacked"):
        assert rows[together]["test"] > 0.95
        assert abs(rows[together]["test"] - rows[together]["out_of_fold"]) < 0.05


def test_labels_without_a_reason_are_not_learnt():
    """Out of fold nothing can be known of noise: a leak from the fitted images would show here."""
    rows = stack.joined(tables_of(0), ("", 0), 5, 0)
    assert all(abs(row["out_of_fold"] - 0.25) < 0.1 for row in rows)


def test_the_script(tmp_path, capsys):
    out = tmp_path / "rows.json"
    small = [word for word in SMALL if word not in ("--labels-per-class", "6")] + ["--config.labels_per_class=6"]
    assert stack.main([*small, "--folds", "3", "--json", str(out), "resnet20_cifar=bundled", "lenet=none"]) == 0
    rows = json.loads(out.read_text())
    assert [row["features from"] for row in rows][:2] == ["resnet20_cifar=bundled", "lenet=none"]
    assert "stacked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lenet=none"], "one backbone has nothing to be joined with"),
        (["lenet=none", "resnet20_cifar=bundled", "--folds", "1"], "--folds 1 is not possible: 2 to "),
        (["lenet=none", "resnet20_cifar=bundled", "--reduce", "pca:x"], "config.reduce='pca:x' is neither"),
        (["lenet", "resnet20_cifar=bundled"], "'lenet' is no MODEL=WEIGHTS"),
    ],
)
def test_what_cannot_be_stacked(arguments, said, capsys):
    assert stack.main(["--data", "digits", "--config.labels_per_class=6", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_more_directions_than_there_are():
    from tl.errors import InputError

    with pytest.raises(InputError, match=r"--reduce pca:9 asks for more than the 5 there can be"):
        stack.check_width(("pca", 9), list(tables_of(1).values()), 5)
