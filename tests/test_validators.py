"""Scores without labels against numbers worked by hand, and the choice among evaluations."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tl import selection
from tl.evaluators import validators
from tl.watch import Choice, Patience


def test_entropy_and_balance():
    assert_allclose(validators.entropy(np.array([[0.5, 0.5], [1.0, 0.0]])), [np.log(2), 0], atol=1e-9)
    even, one = np.full((4, 4), 0.25), np.eye(4)[[0, 0, 0, 0]]
    labels = np.arange(4)
    assert_allclose(validators.balance(even, labels), 1)
    assert_allclose(validators.balance(one, labels), 0.25, rtol=1e-6)
    assert_allclose(validators.balance(np.eye(4)[[0, 1, 0, 1]], labels), 0.5)


def test_neighbourhood_density_by_hand():
    """Three predictions, two of them equal: similarities 1 and 0 over a temperature of 1."""
    p = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    near = np.e / (np.e + 1)
    first = -near * np.log(near) - (1 - near) * np.log(1 - near)
    assert_allclose(validators.neighbourhood_density(p, 1.0), (2 * first + np.log(2)) / 3, rtol=1e-6)


def test_importance_weighs_what_looks_like_the_target():
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, (400, 2)), rng.normal([1, 0], 1, (400, 2))
    at = np.array([[-2.0, 0.0], [0.5, 0.0], [3.0, 0.0]])
    weights = validators.importance(source, target, at)
    assert weights[0] < weights[1] < weights[2]
    assert weights[1] == pytest.approx(1, rel=0.3)  # halfway between the two both are as likely
    assert_allclose(validators.importance(source, source[::-1], at), 1, rtol=1e-6)


def test_the_control_variate_takes_variance_away():
    """Where the loss is a constant, the weights' noise cancels: the risk is that constant."""
    weights = np.random.default_rng(0).exponential(1, 50)
    assert abs((weights * 3).mean() - 3) > 1e-3
    assert_allclose(validators.controlled_risk(weights, np.full(50, 3.0)), 3)
    assert_allclose(validators.controlled_risk(np.ones(4), np.arange(4.0)), 1.5)


def test_proxy_distance():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 3)), rng.normal(size=(150, 3))
    assert validators.proxy_distance(a, b) < 0.4
    assert validators.proxy_distance(a, b + 6) > 1.9


def tables(shift: float = 0.0, target_logits: np.ndarray | None = None):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    logits = 4 * np.eye(3)[labels]
    table = {"features": rng.normal(size=(60, 4)), "outputs/label": logits, "label": labels}
    target = {
        "features": rng.normal(size=(60, 4)) + shift,
        "outputs/label": logits if target_logits is None else target_logits,
    }
    return table, {**table, "features": rng.normal(size=(60, 4))}, target


def test_scores_prefer_the_sure_and_balanced():
    good, unsure = (validators.scores(*tables(target_logits=x), task="label") for x in (None, np.zeros((60, 3))))
    assert set(good) == {f"score/{name}" for name in validators.NAMES}
    assert good["score/entropy"] > unsure["score/entropy"]
    assert good["score/information"] > unsure["score/information"]
    collapsed = validators.scores(*tables(target_logits=np.eye(3)[np.zeros(60, int)] * 9), task="label")
    # The trap: by entropy alone the collapsed network wins; its balance gives it away.
    assert collapsed["score/entropy"] > good["score/entropy"]
    assert collapsed["score/balance"] < 0.5 < good["score/balance"]
    broken = validators.scores(*tables(target_logits=np.full((60, 3), np.nan)), task="label")
    assert np.isnan(list(broken.values())).all()


def test_deep_embedded_is_no_second_name_of_importance():
    reference, val, target = tables(shift=0.7)
    val["outputs/label"] = np.random.default_rng(1).normal(size=(60, 3))
    found = validators.scores(reference, val, target, task="label")
    assert abs(found["score/deep_embedded"] - found["score/importance"]) > 1e-3
    weights = validators.importance(reference["features"], target["features"], val["features"])
    losses = -np.log(validators.softmax(val["outputs/label"])[np.arange(60), val["label"]])
    assert_allclose(found["score/importance"], -np.average(losses, weights=weights))


def row(step: int, score: float | None, source: float = 1.0, balance: float = 1.0, target: float = 0.0) -> dict:
    return {
        "step": step,
        "score/entropy": score,
        "val/accuracy": source,
        "score/balance": balance,
        "target/accuracy": target,
    }


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        ([row(1, 0.1), row(2, 0.3), row(3, 0.3)], 2),  # of equals the first
        ([row(1, 0.1), row(2, 0.9, balance=0.4)], 1),  # collapsed onto few classes
        ([row(1, 0.1), row(2, 0.9, source=0.8)], 1),  # has lost the source
        ([row(1, 0.9, source=0.5), row(2, 0.2), row(3, 0.1)], 2),  # was best before the source was learnt
        # The best loses the source as a later one learns it better; of those left the first is the best of all.
        ([row(1, 0.5, source=0.85), row(2, 0.9, source=0.8), row(3, 0.1, source=0.9)], 1),
        ([row(1, 0.1), row(2, None), row(3, float("nan"))], 1),
    ],
)
def test_the_guard_refuses_what_has_collapsed(rows, step):
    assert Choice("score/entropy", rows).row["step"] == step
    # Row by row, as a run that is resumed in between sees them.
    for cut in range(len(rows)):
        patience = Patience("score/entropy", 0, rows[:cut])
        for i, r in enumerate(rows[cut:], start=cut + 1):
            patience.see(r)
            # Whatever a later row may do to the leader, the next best is still at hand.
            assert Choice("score/entropy", rows[:i]).row.get("step", 0) in patience.choice.steps | {0}
        assert patience.choice.row["step"] == step


def test_where_all_have_collapsed_nothing_is_chosen():
    assert Choice("score/entropy", [row(1, 0.5, balance=0.1)]).row == {}


def test_rules_side_by_side():
    rows = [
        row(10, 0.1, target=0.5),
        {"step": 11, "train/loss": 1.0},
        row(20, 0.4, target=0.7),
        row(30, 0.2, target=0.6),
    ]
    found = selection.compared(rows, {"val/accuracy": 0.9, "target/accuracy": 0.7})
    assert found["selected/last/target"] == 0.6
    assert (found["selected/entropy/step"], found["selected/entropy/target"]) == (20, 0.7)
    assert (found["selected/source/step"], found["target/accuracy_oracle"], found["source/accuracy"]) == (10, 0.7, 0.9)
    assert found["selected/oracle/step"] == 20


def test_a_rule_that_fits_no_evaluation_ends_as_the_run_does():
    rows = [row(10, 0.1, balance=0.1, target=0.5), row(20, 0.4, balance=0.2, target=0.7)]
    found = selection.compared(rows, {"val/accuracy": 0.9, "target/accuracy": 0.7})
    assert (found["selected/entropy/step"], found["selected/entropy/target"]) == (20, 0.7)
    assert "selected/information/target" not in found  # of which no evaluation speaks
