"""Distances between domains against sums that fit on a line, closed forms, and autodiff."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tl import alignment, losses

LN2, LN3 = np.log(2.0), np.log(3.0)


def rows(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def test_entropy():
    # softmax(0, ln 3) = (1, 3) / 4
    assert_allclose(
        losses.entropy(jnp.array([[0.0, LN3], [5.0, 5.0]])), [0.25 * np.log(4) + 0.75 * np.log(4 / 3), LN2], rtol=1e-6
    )
    assert_allclose(losses.entropy(jnp.array([[1000.0, 0.0]])), [0.0])


def test_kernel_mean_difference_by_hand():
    """Two rows each on a line: source 0 and 2, target 1 and 3."""
    source, target = jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [3.0]])
    # Squared distances among 0, 2, 1, 3: 4, 1, 9, 1, 1, 4, each twice in a square of 16: mean 40 / 16.
    k = lambda d: np.exp(-d / (2 * 40 / 16))  # noqa: E731
    # Pairs i, j of different numbers, over n (n - 1) = 2: within each domain 2 k(4), across k(9) and k(1) twice each.
    wanted = (2 * k(4) + 2 * k(4) - 2 * (k(9) + k(1))) / 2
    assert_allclose(alignment.kernel_mean_difference([(source, target)], [(1.0,)]), wanted, rtol=1e-6)


def test_kernel_mean_difference_knows_same_from_different():
    a, b = rows(0, 200, 3), rows(1, 200, 3)
    same, far = (float(alignment.kernel_mean_difference([(a, b + shift)])) for shift in (0.0, 2.0))
    assert abs(same) < 0.03 < 0.3 < far
    layers = [(a, b), (a, b + 2)]
    assert float(alignment.kernel_mean_difference(layers, [(1.0,), (1.68,)])) > abs(same)


def test_coral_is_the_difference_of_covariances():
    source, target = rows(0, 9, 3), 2 * rows(1, 7, 3)
    difference = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    assert_allclose(alignment.coral(source, target), np.sum(difference**2) / 36, rtol=1e-5)
    means = np.mean(source, 0) - np.mean(target, 0)
    wanted = np.mean(means**2) + np.mean(difference**2)
    assert_allclose(alignment.mean_and_covariance_difference(source, target), wanted, rtol=1e-5)


def test_feature_norms_take_a_step():
    features = jnp.array([[3.0, 4.0], [0.0, 1.0]])
    value, gradient = jax.value_and_grad(lambda f: alignment.feature_norm_step(f, 0.5).sum())(features)
    assert_allclose(value, 0.5)
    assert_allclose(gradient, [[-0.6, -0.8], [0.0, -1.0]], atol=1e-6)  # -2 * .5 along the feature
    assert not jax.grad(lambda f: alignment.feature_norm_step(f).sum())(jnp.zeros((1, 2))).any()


def test_largest_singular_values():
    assert_allclose(alignment.largest_singular_values(jnp.diag(jnp.array([3.0, 1.0, 2.0])), 2), 13, rtol=1e-6)


def test_gradient_reversal_in_both_modes():
    f = lambda x: jnp.sum(alignment.reverse_gradient(x, 0.5) ** 2)  # noqa: E731
    x = jnp.array([1.0, -2.0])
    assert_allclose(alignment.reverse_gradient(x, 0.5), x)
    assert_allclose(jax.grad(f)(x), -x)
    assert_allclose(jax.jvp(f, (x,), (jnp.ones(2),))[1], -jnp.sum(x))
    assert_allclose(alignment.growing_strength(jnp.array([0.0, 0.1, 1.0])), [0, np.tanh(0.5), np.tanh(5)], atol=1e-6)


def test_multilinear_map_and_its_weights():
    features, logits = jnp.array([[1.0, 2.0]]), jnp.array([[0.0, LN3]])
    assert_allclose(alignment.multilinear(features, logits), [[0.25, 0.75, 0.5, 1.5]], rtol=1e-6)
    assert not jax.grad(lambda z: alignment.multilinear(features, z).sum())(logits).any()
    # entropies 0 and ln 2: 1 + 1 and 1 + 1/2, over their mean 1.75
    weights = alignment.certainty_weights(jnp.array([[1000.0, 0.0], [0.0, 0.0]]))
    assert_allclose(weights, [2 / 1.75, 1.5 / 1.75], rtol=1e-6)


def test_classifier_discrepancy_by_hand():
    # (1, 3) / 4 against (1, 1) / 2
    assert_allclose(alignment.classifier_discrepancy(jnp.array([[0.0, LN3]]), jnp.zeros((1, 2))), [0.25], rtol=1e-6)


def test_margin_disparity_by_hand():
    source, target = jnp.array([[0.0, 5.0]]), jnp.array([[5.0, 0.0, 0.0]])
    # The adversary gives the predicted class 3/4 on the source; on the target 1/2, of 2 / (2 + 1 + 1).
    adversary = jnp.array([[0.0, LN3]]), jnp.array([[LN2, 0.0, 0.0]])
    assert_allclose(alignment.margin_disparity((source, target), adversary, 4.0), 4 * np.log(4 / 3) + LN2, rtol=1e-6)
    sure = jnp.array([[200.0, 0.0, 0.0]])
    assert np.isfinite(jax.grad(lambda a: alignment.margin_disparity((source, target), (adversary[0], a)))(sure)).all()


def test_class_confusion_by_hand():
    # At temperature 1 both rows have the entropy of (1, 3) / 4, so all weights are 1.
    p = np.array([[0.25, 0.75], [0.75, 0.25]])
    confusion = p.T @ p
    confusion /= confusion.sum(axis=1, keepdims=True)
    assert_allclose(alignment.class_confusion(jnp.log(p), 1.0), (confusion.sum() - np.trace(confusion)) / 2, rtol=1e-5)
    sure = alignment.class_confusion(1000 * jnp.eye(3))
    assert_allclose(sure, 0, atol=1e-6)


def test_information_is_largest_where_predictions_are_sure_and_balanced():
    assert_allclose(alignment.information(1000 * jnp.eye(3)), LN3, rtol=1e-6)
    assert_allclose(alignment.information(jnp.zeros((4, 3))), 0, atol=1e-6)
    assert_allclose(alignment.information(jnp.array([[1000.0, 0.0], [1000.0, 0.0]])), 0, atol=1e-6)


@pytest.mark.parametrize("n", [4, 7])
def test_invariance_penalty_is_the_gradient_of_a_scale(n):
    logits, labels = rows(0, n, 3), jnp.arange(n) % 3

    def risk(scale: jax.Array, row: int) -> jax.Array:
        return losses.cross_entropy(scale * logits[row : row + 1], labels[row : row + 1])[0]

    slopes = [float(jax.grad(risk)(1.0, row)) for row in range(n)]
    for rows_ in (range(n), range(0, n, 2)):
        wanted = np.mean([slopes[i] * slopes[j] for i in rows_ for j in rows_ if i != j])
        counts = jnp.zeros(n).at[jnp.asarray(list(rows_))].set(1.0)
        assert_allclose(alignment.invariance_penalty(logits, labels, counts), wanted, rtol=1e-4)
    assert_allclose(
        alignment.invariance_penalty(logits, labels),
        alignment.invariance_penalty(logits, labels, jnp.ones(n)),
    )


def test_risks_of_domains():
    belongs = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert_allclose(alignment.risks(jnp.array([1.0, 5.0, 3.0]), belongs), [2, 5, 0])


def test_moments_of_the_rows_that_count():
    x, counts = rows(3, 6, 2), jnp.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    mean, covariance = alignment.moments(x, counts)
    chosen = np.asarray(x)[np.asarray(counts) > 0]
    assert_allclose(mean, chosen.mean(0), rtol=1e-5)
    assert_allclose(covariance, np.cov(chosen, rowvar=False), rtol=1e-4)


def test_every_domain_counts_the_same():
    """Three rows of one domain and one of the other: the mean of the two domains' mean losses."""
    logits = jnp.array([[0.0, LN3], [0.0, LN3], [0.0, LN3], [0.0, LN3]])
    told = alignment.domain_loss(logits, jnp.array([0, 0, 0, 1]))
    assert_allclose(told.loss, (np.log(4) + np.log(4 / 3)) / 2, rtol=1e-6)
    assert_allclose(told.accuracy, 0.25)
    weighed = alignment.domain_loss(
        logits * jnp.array([[1.0], [0.0], [1.0], [1.0]]), jnp.array([0, 0, 0, 1]), jnp.array([1.0, 2.0, 1.0, 1.0])
    )
    assert_allclose(weighed.loss, ((2 * np.log(4) + 2 * LN2) / 4 + np.log(4 / 3)) / 2, rtol=1e-6)


def test_risk_variance():
    assert_allclose(alignment.risk_variance(jnp.array([1.0, 2.0, 3.0])), 2 / 3, rtol=1e-6)
