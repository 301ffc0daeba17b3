"""Pure functions of arrays: one loss per example, so that callers choose how to weigh and average them."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """(N, ..., C) logits and (N, ...) integer labels -> (N, ...) negative log likelihood.

    With `smoothing` e the target is (1 - e) one-hot + e / C (Szegedy et al. 2016, section 7).
    """
    logp = jax.nn.log_softmax(logits)
    hit = jnp.take_along_axis(logp, labels[..., None], axis=-1)[..., 0]
    return -(1 - smoothing) * hit - smoothing * logp.mean(axis=-1)


def soft_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """(N, C) logits and (N, C) probabilities -> (N,) cross-entropy."""
    return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)


def distillation(logits: jax.Array, teacher: jax.Array, temperature: float = 1.0) -> jax.Array:
    """(N, C) logits of student and teacher -> (N,) divergence of the student's softmax from the teacher's, times T^2.

    Both at temperature T; T^2 keeps the gradient's size (Hinton et al. 2015, arXiv:1503.02531, section 2).
    """
    target = jax.nn.log_softmax(teacher / temperature)
    said = jax.nn.log_softmax(logits / temperature)
    return temperature**2 * jnp.sum(jnp.exp(target) * (target - said), axis=-1)


def direction(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """(N, D) and (N, D) vectors of length 1 -> (N,) halves of their squared distances: 1 - cosine."""
    return jnp.square(outputs - targets).sum(axis=-1) / 2


def sigmoid_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """(N, K) logits and (N, K) labels in 0..1 -> (N,) binary cross-entropy, the mean over the K outputs."""
    return optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype)).mean(axis=-1)


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """(N, K) outputs and targets -> (N,) mean squared error over the K outputs."""
    return jnp.square(outputs - targets.astype(outputs.dtype)).mean(axis=-1)


def entropy(logits: jax.Array) -> jax.Array:
    """(N, C) logits -> (N,) entropy of the softmax, in nats."""
    logp = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(logp) * logp, axis=-1)


def mean_entropy(logits: jax.Array) -> jax.Array:
    """(N, C) logits -> entropy of the mean of their softmax, in nats."""
    mean = jnp.mean(jax.nn.softmax(logits), axis=0)
    return -jnp.sum(jax.scipy.special.xlogy(mean, mean))


def weighted_mean(losses: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """(N, ...) losses -> their mean; with `weights` of that shape sum(w l) / sum(w), as class weights are averaged."""
    if weights is None:
        return losses.mean()
    return jnp.sum(weights * losses) / jnp.maximum(jnp.sum(weights), jnp.finfo(losses.dtype).tiny)


def risen(progress: jax.Array, share: float) -> jax.Array:
    """exp(-5 (1 - t)^2) with t from 0 to 1 over the `share` of a run, then 1 (Laine and Aila 2017, section 2.1)."""
    ahead = 1 - jnp.minimum(progress / max(share, 1e-6), 1.0)
    return jnp.exp(-5 * jnp.square(ahead))


def normal_surprise(values: jax.Array, means: jax.Array, deviation: float) -> jax.Array:
    """(N, K) values and means -> (N,) -log of the density of normal distributions of one `deviation`, in nats."""
    apart = jnp.square((values - means) / deviation).sum(axis=1)
    return apart / 2 + values.shape[1] * (math.log(2 * math.pi) / 2 + math.log(deviation))


def divergence_from_normal(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """(N, K) of K normal distributions -> (N,) divergence from the standard one (Kingma and Welling 2014, app. B)."""
    return (jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1).sum(axis=1) / 2
