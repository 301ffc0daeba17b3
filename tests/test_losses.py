"""Losses against sums that fit on a line."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from tl import losses

LN2, LN3 = np.log(2.0), np.log(3.0)


def test_cross_entropy_is_minus_the_log_probability_of_the_label():
    # softmax(0, ln 3) = (1, 3) / 4
    logits = jnp.array([[0.0, LN3], [0.0, LN3]])
    assert_allclose(losses.cross_entropy(logits, jnp.array([0, 1])), [np.log(4), np.log(4 / 3)], rtol=1e-6)


def test_cross_entropy_does_not_overflow():
    # log softmax(1000, 0) = (-0, -1000)
    logits = jnp.array([[1000.0, 0.0], [1000.0, 0.0]])
    assert_allclose(losses.cross_entropy(logits, jnp.array([0, 1])), [0, 1000])


def test_smoothed_targets_are_shared_out_over_all_classes():
    # e = .3 over C = 3 classes: the label's target is .7 + .1 = .8, the others' .1.
    # softmax(0, ln 2, 0) = (1, 2, 1) / 4, so the loss is .8 ln 2 + .1 ln 4 + .1 ln 4 = .8 ln 2 + .4 ln 2 = 1.2 ln 2
    loss = losses.cross_entropy(jnp.array([[0.0, LN2, 0.0]]), jnp.array([1]), smoothing=0.3)
    assert_allclose(loss, [1.2 * LN2], rtol=1e-6)


def test_gradient_of_cross_entropy_is_probability_minus_target():
    gradient = jax.grad(lambda z: losses.cross_entropy(z, jnp.array([1]), 0.3).sum())(jnp.array([[0.0, LN2, 0.0]]))
    assert_allclose(gradient, [[0.25 - 0.1, 0.5 - 0.8, 0.25 - 0.1]], atol=1e-6)


def test_sigmoid_cross_entropy_is_the_mean_over_the_outputs():
    # sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4: (ln 2 + ln(4/3)) / 2 and, with the labels turned, (ln 2 + ln 4) / 2
    logits = jnp.array([[0.0, LN3], [0.0, LN3]])
    loss = losses.sigmoid_cross_entropy(logits, jnp.array([[1, 1], [0, 0]]))
    assert_allclose(loss, [np.log(8 / 3) / 2, np.log(8) / 2], rtol=1e-6)


def test_sigmoid_cross_entropy_does_not_overflow():
    loss = losses.sigmoid_cross_entropy(jnp.array([[500.0], [-500.0]]), jnp.array([[1], [1]]))
    assert_allclose(loss, [0, 500])


def test_squared_error_is_the_mean_over_the_outputs():
    # (1 - 0)^2 = 1 and (2 - 4)^2 = 4: mean 5/2. Integer targets are taken as numbers.
    assert_allclose(losses.squared_error(jnp.array([[1.0, 2.0]]), jnp.array([[0, 4]])), [2.5])


def test_weighted_mean_divides_by_the_weights():
    values = jnp.array([1.0, 2.0, 4.0])
    assert_allclose(losses.weighted_mean(values), 7 / 3, rtol=1e-6)
    # (1 x 1 + 0 x 2 + 3 x 4) / (1 + 0 + 3) = 13 / 4
    assert_allclose(losses.weighted_mean(values, jnp.array([1.0, 0.0, 3.0])), 13 / 4)


def test_weighted_mean_of_nothing_is_zero():
    assert losses.weighted_mean(jnp.array([1.0, 2.0]), jnp.zeros(2)) == 0


def test_soft_labels_and_the_mean_prediction():
    logits = jnp.array([[0.0, np.log(3.0)], [0.0, 0.0]])
    hard = losses.cross_entropy(logits, jnp.array([1, 0]))
    np.testing.assert_allclose(losses.soft_cross_entropy(logits, jnp.eye(2)[jnp.array([1, 0])]), hard, rtol=1e-6)
    half = losses.soft_cross_entropy(logits[:1], jnp.array([[0.5, 0.5]]))
    np.testing.assert_allclose(half, (np.log(4) + np.log(4 / 3)) / 2, rtol=1e-6)
    p = 0.625  # the mean of 3/4 and 1/2
    np.testing.assert_allclose(losses.mean_entropy(logits), -p * np.log(p) - (1 - p) * np.log(1 - p), rtol=1e-6)


def test_distillation_is_the_divergence_of_softened_softmaxes():
    # At T = 2 the logits (0, 2 ln 3) give (1, 3) / 4, and (0, 0) give (1, 1) / 2:
    # sum of 1/4 ln(1/2) + 3/4 ln(3/2) = 3/4 ln 3 - ln 2, times 4.
    loss = losses.distillation(jnp.zeros((1, 2)), jnp.array([[0.0, 2 * LN3]]), temperature=2.0)
    assert_allclose(loss, [4 * (0.75 * LN3 - LN2)], rtol=1e-6)
    assert_allclose(losses.distillation(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])), [0], atol=1e-6)
