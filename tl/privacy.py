"""DP-SGD (Abadi et al. 2016, arXiv:1607.00133, algorithm 1), and how much of an image it can give away at most."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import gammaln, logsumexp

ORDERS = range(2, 257)


def gradient(
    of_one: Callable[[Any, jax.Array], tuple[Any, Any]], batch: Any, *, clip: float, noise: float, key: jax.Array
) -> tuple[Any, Any]:
    """The mean over a batch of every row's gradient, none longer than `clip`, with noise of deviation `noise` times it.

    `of_one(row, number)`: the gradient of a batch of that one row, and what else is known of it, whose mean is returned
    with the share of rows that were clipped. The noise is in the sum, so its part in the mean falls with the batch.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    rows = jax.tree.map(lambda x: x[:, None], batch)
    grads, rest = jax.vmap(of_one)(rows, jnp.arange(count))
    total, clipped = optax.per_example_global_norm_clip(grads, clip)
    leaves, tree = jax.tree.flatten(total)
    drawn = [
        leaf + noise * clip * jax.random.normal(jax.random.fold_in(key, number), leaf.shape, leaf.dtype)
        for number, leaf in enumerate(leaves)
    ]
    mean = jax.tree.map(lambda leaf: leaf / count, jax.tree.unflatten(tree, drawn))
    return mean, (*jax.tree.map(lambda values: values.mean(axis=0), rest), clipped / count)


def epsilon(noise: float, share: float, steps: int, at: float) -> float:
    """The epsilon of `steps` steps, each of which sees an image with probability `share`; it holds at the delta `at`.

    By Renyi differential privacy of whole orders (Mironov et al. 2019, arXiv:1908.10530, eq. 6 and section 3.3), turned
    into epsilon as by Canonne et al. 2020 (arXiv:2004.00010, proposition 12). Batches are taken as if each image were
    drawn by itself, which shuffled epochs only come near to.
    """
    if not steps:
        return 0.0
    found = []
    for order in ORDERS:
        spent = steps * _renyi(order, noise, share)
        found.append(spent + math.log1p(-1 / order) - (math.log(at) + math.log(order)) / (order - 1))
    return max(0.0, min(found))


def _renyi(order: int, noise: float, share: float) -> float:
    """Divergence of one step's sum with an image from that without it."""
    if share >= 1:
        return order / (2 * noise**2)
    k = np.arange(order + 1)
    ways = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = ways + (order - k) * math.log1p(-share) + k * math.log(share) + (k * k - k) / (2 * noise**2)
    return float(np.asarray(logsumexp(terms))) / (order - 1)
