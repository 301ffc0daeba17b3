"""Scores of features against sums by hand, closed forms, and data of which the best features are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from tl import ranking

RANDOM = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 20)
GOOD = np.eye(3)[LABELS] @ RANDOM.normal(size=(3, 6)) * 3 + RANDOM.normal(size=(60, 6))
NOISE = RANDOM.normal(size=(60, 6))


def test_h_score_by_hand():
    # One number: the share of its variance that lies between classes. Means 0 and 4, each class +-1: 4 / (4 + 1).
    features, labels = np.array([[-1.0], [1.0], [3.0], [5.0]]), np.array([0, 0, 1, 1])
    assert_allclose(ranking.h_score(features, labels), 4 / 5)


def test_leep_and_nce_by_hand():
    labels = np.array([0, 1])
    source = np.array([[0.75, 0.25], [0.25, 0.75]])
    # p(y = 0 | z = 0) = .75 / 1, so each image has .75 * .75 + .25 * .25.
    assert_allclose(ranking.leep(source, labels), np.log(0.625))
    assert_allclose(ranking.nce(source, labels), 0, atol=1e-12)
    same = np.tile([[0.9, 0.1]], (4, 1))
    assert_allclose(ranking.nce(same, np.array([0, 0, 0, 1])), 0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert_allclose(ranking.leep(same, np.array([0, 0, 0, 1])), 0.75 * np.log(0.75) + 0.25 * np.log(0.25))


def test_logme_is_the_largest_evidence():
    """y ~ N(0, I / beta + F F^T / alpha): a fine grid of alpha and beta finds no more, and nearly as much."""
    features, labels = GOOD[:12], np.array([0, 1] * 6)
    axis = np.exp(np.linspace(-4, 6, 30))

    def evidence(targets: np.ndarray, alpha: float, beta: float) -> float:
        spread = np.linalg.cholesky(np.eye(12) / beta + features @ features.T / alpha)
        whitened = np.linalg.solve(spread, targets)
        return -np.log(np.diag(spread)).sum() - 0.5 * whitened @ whitened - 6 * np.log(2 * np.pi)

    best = [max(evidence(1.0 * (labels == c), a, b) for a in axis for b in axis) for c in (0, 1)]
    found = ranking.logme(features, labels)
    assert np.mean(best) / 12 - 1e-6 <= found <= np.mean(best) / 12 + 0.01


def test_logme_where_there_are_more_features_than_images():
    wide = RANDOM.normal(size=(8, 20))
    labels = np.array([0, 1] * 4)
    narrow = wide @ np.linalg.svd(wide, full_matrices=False)[2].T  # the same Gram matrix in eight numbers
    assert_allclose(ranking.logme(wide, labels), ranking.logme(narrow, labels), rtol=1e-6)


def test_trans_rate_by_hand():
    # Centred rows -1, -1, 1, 1 in one number at distortion 1: R(Z) = ln(1 + 1) / 2, and R of either class the same.
    features, labels = np.array([[0.0], [0.0], [2.0], [2.0]]), np.array([0, 0, 1, 1])
    assert_allclose(ranking.trans_rate(features, labels, distortion=1.0), 0, atol=1e-12)
    mixed = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    # Four corners: each axis has mean square 1. A class keeps the first axis at +-1 and the second constant at -1 or 1.
    whole, part = 2 * np.log(2) / 2, np.linalg.slogdet(np.eye(2) + np.eye(2))[1] / 2
    assert_allclose(ranking.trans_rate(mixed, np.array([0, 0, 1, 1]), distortion=1.0), whole - part, atol=1e-12)


def test_neighbours_and_ridge_leave_each_image_out():
    # Pairs side by side with unlike labels: the nearest other is always wrong, the image itself would be right.
    angle = np.array([0.0, 0.01, 1.5, 1.51])
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert ranking.neighbours(features, np.array([0, 1, 0, 1]), count=1) == 0
    assert ranking.neighbours(features, np.array([0, 0, 1, 1]), count=1) == 1
    assert ranking.neighbours(np.ones((4, 2)), np.array([0, 0, 0, 1]), count=3) == 0.75


@pytest.mark.parametrize("classes", [2, 3])
def test_ridge_is_what_refitting_without_each_image_gives(classes, monkeypatch):
    monkeypatch.setattr(ranking, "RIDGES", (10.0,))
    features, labels = (GOOD + 3 * NOISE)[: 20 * classes], LABELS[: 20 * classes]
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    right = 0
    for i in range(len(labels)):
        rest = np.arange(len(labels)) != i
        fit = Ridge(alpha=10.0).fit(features[rest], np.eye(classes)[labels[rest]])
        right += fit.predict(features[[i]]).argmax() == labels[i]
    assert ranking.ridge(features, labels) == right / len(labels)
    assert 0.5 < ranking.ridge(features, labels) < 1


def test_every_score_prefers_features_that_tell_classes_apart():
    sure, unsure = np.eye(3)[LABELS] * 0.9 + 0.1 / 3, np.full((60, 3), 1 / 3)
    good, bad = ranking.scores(GOOD, LABELS, sure), ranking.scores(NOISE, LABELS, unsure)
    assert good.keys() == bad.keys() == {*ranking.OF_FEATURES, *ranking.OF_CLASSES}
    for name in good:
        assert good[name] > bad[name], name
    assert ranking.scores(GOOD, LABELS).keys() == set(ranking.OF_FEATURES)
