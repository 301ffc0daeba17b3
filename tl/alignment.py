"""How far apart two domains are, and what brings them together: pure functions of features and logits.

S and T stand for the source and the target domain; rows are examples, (S, D) and (T, D) their features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tl.losses import cross_entropy, entropy, mean_entropy, weighted_mean

# --- moments -----------------------------------------------------------------------------------------------


def kernel_mean_difference(
    layers: Sequence[tuple[jax.Array, jax.Array]],
    scales: Sequence[Sequence[float]] = ((0.125, 0.25, 0.5, 1.0, 2.0),),
) -> jax.Array:
    """Squared maximum mean discrepancy under a sum of Gaussian kernels; over several layers under their product.

    `layers`: (source, target) features of each layer, of equal numbers of rows n. `scales`: for each layer, or one for
    all, the factors on its bandwidth, the mean squared distance between rows, which no gradient enters.
    The unbiased estimate over all pairs of different rows (Long et al. 2015, arXiv:1502.02791, eq. 4; for several
    layers Long et al. 2017, arXiv:1605.06636, eq. 7).
    """
    given = list(scales) * (len(layers) if len(scales) == 1 else 1)
    product = jnp.ones(())
    for (source, target), factors in zip(layers, given, strict=True):
        # In turn, not one behind the other: on a mesh that would move rows between the devices that hold them.
        rows = jnp.stack([source, target], axis=1).reshape(-1, source.shape[1])
        squared = squared_distances(rows, rows)
        bandwidth = jax.lax.stop_gradient(squared.mean())
        product = product * sum(jnp.exp(-squared / (2 * factor * bandwidth)) for factor in factors)
    n = layers[0][0].shape[0]
    draw, domain = np.divmod(np.arange(2 * n), 2)
    sign = 1.0 - 2.0 * domain
    # The pairs of row i of the source with row i of the target are left out as well, as of one draw.
    different = draw[:, None] != draw[None, :]
    weights = np.outer(sign, sign) * different / (n * (n - 1))
    return jnp.sum(jnp.asarray(weights, product.dtype) * product)


def squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """(N, D) and (M, D) -> (N, M)."""
    return jnp.sum(jnp.square(a[:, None, :] - b[None, :, :]), axis=-1)


def coral(
    source: jax.Array, target: jax.Array, of_source: jax.Array | None = None, of_target: jax.Array | None = None
) -> jax.Array:
    """|C_S - C_T|^2 / (4 D^2) of the covariances (Sun and Saenko 2016, arXiv:1607.01719, eq. 1).

    `of_source` (S,) and `of_target` (T,) in {0, 1} say which rows count, by default all.
    """
    difference = moments(source, of_source)[1] - moments(target, of_target)[1]
    return jnp.sum(jnp.square(difference)) / (4 * source.shape[1] ** 2)


def mean_and_covariance_difference(
    source: jax.Array, target: jax.Array, of_source: jax.Array | None = None, of_target: jax.Array | None = None
) -> jax.Array:
    """Mean squared differences of the means and of the covariances (Gulrajani and Lopez-Paz 2021, arXiv:2007.01434)."""
    pairs = zip(moments(source, of_source), moments(target, of_target), strict=True)
    return sum((jnp.mean(jnp.square(s - t)) for s, t in pairs), jnp.zeros(()))


def moments(x: jax.Array, counts: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Mean (D,) and covariance (D, D) of the rows of (N, D) where `counts` (N,) is 1; N - 1 is below the sum."""
    weights = jnp.ones(x.shape[0], x.dtype) if counts is None else counts
    n = jnp.sum(weights)
    mean = weights @ x / n
    centred = x - mean[None, :]
    return mean, centred.T @ (weights[:, None] * centred) / (n - 1)


def feature_norm_step(features: jax.Array, step: float = 1.0) -> jax.Array:
    """(N,) (|f| - stop(|f|) - step)^2: norms grow a step at a time (Xu et al. 2019, arXiv:1811.07456, eq. 7)."""
    norms = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(features), axis=1), 1e-12))  # its slope at 0 is infinite
    return jnp.square(norms - jax.lax.stop_gradient(norms) - step)


def largest_singular_values(features: jax.Array, count: int = 1) -> jax.Array:
    """Sum of the squares of the `count` largest ones of an (N, D) batch (Chen et al. 2019, BSP, eq. 6)."""
    return jnp.sum(jnp.square(jnp.linalg.svd(features, compute_uv=False)[:count]))


# --- adversaries -------------------------------------------------------------------------------------------


@jax.custom_jvp
def reverse_gradient(x: jax.Array, strength: jax.Array | float = 1.0) -> jax.Array:
    """`x` itself; its gradient times -`strength` (Ganin et al. 2016, arXiv:1505.07818, eq. 18)."""
    return x


@reverse_gradient.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    x, strength = primals
    return x, -jnp.asarray(strength, x.dtype) * tangents[0]


def growing_strength(progress: jax.Array, alpha: float = 10.0) -> jax.Array:
    """0 at the start, near 1 at the end: 2 / (1 + exp(-alpha p)) - 1 (Ganin et al. 2016, section 5.2.2)."""
    return 2 / (1 + jnp.exp(-alpha * progress)) - 1


class Told(NamedTuple):
    """How well rows are told apart by domain."""

    loss: jax.Array
    accuracy: jax.Array


def domain_loss(logits: jax.Array, domain: jax.Array, weights: jax.Array | None = None) -> Told:
    """Cross-entropy of (N, K) logits of K domains, each of which counts the same; rows weigh by (N,) `weights`."""
    own = jax.nn.one_hot(domain, logits.shape[1], dtype=logits.dtype)
    weights = jnp.ones(logits.shape[0], logits.dtype) if weights is None else weights
    shares = weights / jnp.maximum(own @ (weights @ own), jnp.finfo(logits.dtype).tiny)
    accuracy = jnp.mean(jnp.argmax(logits, axis=1) == domain, dtype=logits.dtype)
    return Told(weighted_mean(cross_entropy(logits, domain), shares), accuracy)


def multilinear(features: jax.Array, logits: jax.Array) -> jax.Array:
    """(N, D) and (N, C) -> (N, D C), features by probabilities, which no gradient enters (Long et al. 2018, eq. 5)."""
    probabilities = jax.lax.stop_gradient(jax.nn.softmax(logits))
    return (features[:, :, None] * probabilities[:, None, :]).reshape(features.shape[0], -1)


def certainty_weights(logits: jax.Array) -> jax.Array:
    """(N,) 1 + exp(-entropy), of mean 1, without gradient (Long et al. 2018, arXiv:1705.10667, CDAN+E, eq. 8)."""
    weights = 1 + jnp.exp(-entropy(jax.lax.stop_gradient(logits)))
    return weights / jnp.mean(weights)


def classifier_discrepancy(first: jax.Array, second: jax.Array) -> jax.Array:
    """(N,) mean absolute difference of two heads' probabilities (Saito et al. 2018, arXiv:1712.02560, eq. 3)."""
    return jnp.mean(jnp.abs(jax.nn.softmax(first) - jax.nn.softmax(second)), axis=1)


def margin_disparity(
    logits: tuple[jax.Array, jax.Array], adversary: tuple[jax.Array, jax.Array], margin: float = 4.0
) -> jax.Array:
    """What the adversarial head minimises and, reversed, the features maximise: each (source, target) logits.

    `margin` times its cross-entropy on the source against the main head's predictions, minus log(1 - p) of the main
    head's predictions on the target (Zhang et al. 2019, MDD, arXiv:1904.05801, eq. 29 and 30).
    """
    labels = [jnp.argmax(z, axis=1) for z in logits]
    agree = cross_entropy(adversary[0], labels[0]).mean()
    # log(1 - p_k) = log of the sum over the others - log of the sum over all
    others = jnp.where(jax.nn.one_hot(labels[1], adversary[1].shape[1], dtype=bool), -jnp.inf, adversary[1])
    disagree = jax.nn.logsumexp(adversary[1], axis=1) - jax.nn.logsumexp(others, axis=1)
    return margin * agree + disagree.mean()


# --- the target's predictions alone ------------------------------------------------------------------------


def class_confusion(logits: jax.Array, temperature: float = 2.5) -> jax.Array:
    """Minimum class confusion of a batch of target logits (Jin et al. 2020, arXiv:1912.03699, eq. 2 to 7)."""
    n, classes = logits.shape
    soft = logits / temperature
    p = jax.nn.softmax(soft)
    weights = 1 + jnp.exp(-entropy(jax.lax.stop_gradient(soft)))
    weights = n * weights / jnp.sum(weights)
    confusion = p.T @ (p * weights[:, None])
    confusion = confusion / jnp.sum(confusion, axis=1, keepdims=True)
    return (jnp.sum(confusion) - jnp.trace(confusion)) / classes


def information(logits: jax.Array) -> jax.Array:
    """Entropy of the mean prediction minus the mean entropy: how much the predictions say about the images."""
    return mean_entropy(logits) - jnp.mean(entropy(logits))


# --- several labelled domains ------------------------------------------------------------------------------


def risks(losses: jax.Array, belongs: jax.Array) -> jax.Array:
    """(N,) losses and (K, N) memberships in {0, 1} -> (K,) mean loss of each domain, 0 for one without rows."""
    return belongs @ losses / jnp.maximum(jnp.sum(belongs, axis=1), 1)


def invariance_penalty(logits: jax.Array, labels: jax.Array, counts: jax.Array | None = None) -> jax.Array:
    """(d/dw of the cross-entropy of w * logits at w = 1)^2 (Arjovsky et al. 2019, arXiv:1907.02893, IRMv1).

    A row's gradient is g = sum_c (p_c - y_c) z_c. The square of their mean is estimated without bias by the mean of
    g_i g_j over all pairs of different rows, of those where `counts` (N,) is 1.
    """
    difference = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
    slopes = jnp.sum(difference * logits, axis=1)
    counts = jnp.ones_like(slopes) if counts is None else counts
    slopes, n = slopes * counts, jnp.sum(counts)
    return (jnp.square(jnp.sum(slopes)) - jnp.sum(jnp.square(slopes))) / (n * (n - 1))


def risk_variance(risks: jax.Array) -> jax.Array:
    """(K,) mean losses of K domains -> their variance (Krueger et al. 2021, arXiv:2003.00688, eq. 8)."""
    return jnp.mean(jnp.square(risks - jnp.mean(risks)))
