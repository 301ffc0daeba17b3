"""SWA: the mean of the last steps; SWAD: where a valley lies, and that a run ends with the mean of just its steps."""

from __future__ import annotations

import numpy as np
import pytest
import toy

from tl import averages, build, optim
from tl.errors import InputError
from tl.report.files import read_lines


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        # The first of three that is the least of them; the mean of 1.0, 1.2, 1.1 and half of it more is 1.65.
        ([3.0, 2.0, 1.0, 1.2, 1.1, 1.3, 1.7, 1.6, 1.9, 1.8, 1.0], (2, 7)),  # one of a pair below the limit: it goes on
        ([3.0, 2.0, 1.0, 1.2, 1.1, 1.7, 1.9, 1.0], (2, 4)),
        ([1.0, 1.8, 1.9, 1.9, 0.5], (0, 4)),  # a limit of 2.35
        ([1.0, 1.0, 4.0, 4.0, 1.0], (0, 1)),  # a limit of 3, passed within the opening
        ([1.0, 1.0, 1.0, 0.9], (0, 3)),  # equals count as the least; the end of the run ends the valley
        ([3.0, 2.0, 1.0], (2, 2)),  # still falling: no valley
        ([2.0], (0, 0)),
    ],
)
def test_valley_by_hand(losses, found):
    assert averages.valley(losses, converge=3, tolerate=2, rise=0.5) == found


def test_a_run_ends_with_the_mean_of_every_step_in_the_valley(tmp_path):
    config = toy.toy_config("configs/swad.py", **{**toy.METHODS["swad"], "swad": (2, 1, 0.0), "steps": 8})
    summary = build.run(config, tmp_path, quiet=True)
    work, weights = toy.Steps(config), []
    for _ in range(8):
        work.run(1)
        weights.append(optim.paths(work.host().params))
    losses = [row["val/loss"] for row in work_rows(tmp_path)]
    first, last = averages.valley(losses, 2, 1, 0.0)
    steps = [0, 3, 6, 8]
    chosen = weights[steps[first] : steps[last + 1]]
    ended = toy.leaves_of(tmp_path)
    for path in weights[0]:
        np.testing.assert_allclose(
            ended[f"params/{path}"], np.mean([tree[path] for tree in chosen], axis=0), rtol=2e-4, atol=1e-5
        )
    assert not (tmp_path / averages.FOLDER).exists()
    assert summary["target/accuracy"] >= 0


def test_the_last_part_of_a_run_is_averaged_evenly(tmp_path):
    config = toy.toy_config(swa=0.5, steps=8)
    build.run(config, tmp_path, quiet=True)
    work, weights = toy.Steps(config), []
    for _ in range(8):
        work.run(1)
        weights.append(optim.paths(work.host().params))
    ended = toy.leaves_of(tmp_path)
    for path in weights[0]:
        mean = np.mean([tree[path] for tree in weights[4:]], axis=0)
        np.testing.assert_allclose(ended[f"params/{path}"], mean, rtol=2e-4, atol=1e-5)


def work_rows(folder):
    return [row for row in read_lines(folder / "metrics.jsonl") if "val/loss" in row]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"swa": 1.0}, ["config.swa=1.0 must be the share"]),
        ({"swa": 0.5, "ema": 0.9}, ["leave one out"]),
        ({"swad": (3, 6)}, ["(3, 6)", "(3, 6, 0.3)"]),
        ({"swad": (0, 6, 0.3)}, ["at least 1"]),
        ({"swad": (3.5, 6, 0.3)}, ["at least 1"]),
        ({"swad": (3, 6, 0.3), "ema": 0.9}, ["config.ema=0.9", "leave one out"]),
        ({"swad": (3, 6, 0.3), "select": "val/accuracy"}, ["config.select='val/accuracy'"]),
        ({"swad": (3, 6, 0.3), "val_fraction": 0.0}, ["val_fraction"]),
    ],
)
def test_settings_that_make_no_sense(changes, words):
    with pytest.raises(InputError) as error:
        build.experiment(toy.toy_config(**changes))
    assert all(word in str(error.value) for word in words)
