"""What keeps fine-tuning near its start, or its features rich: pure functions of trees and arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def squared_norm(tree: Any) -> jax.Array:
    """The sum of the squares of all leaves."""
    return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)), jnp.zeros(()))


def squared_distance(tree: Any, other: Any, weights: Any = None) -> jax.Array:
    """The sum of the squared differences of all leaves, each number times its weight where there are `weights`."""
    apart = jax.tree.map(jnp.subtract, tree, other)
    if weights is None:
        return squared_norm(apart)
    each = jax.tree.map(lambda difference, weight: jnp.sum(weight * jnp.square(difference)), apart, weights)
    return sum(jax.tree.leaves(each), jnp.zeros(()))


def map_distance(here: jax.Array, there: jax.Array, attention: jax.Array) -> jax.Array:
    """(N, ..., C) maps and (C,) `attention` of sum 1 -> how far apart the maps are, one number.

    Half the weighted sum over channels of squared distances, times C and over the positions of a map: with even
    attention and any size of map, half the sum over channels of the mean square (Li et al. 2019, DELTA).
    """
    channels = here.shape[-1]
    each = jnp.mean(jnp.square(here - there).reshape(here.shape[0], -1, channels), axis=1)
    return 0.5 * channels * jnp.mean(each @ attention)


def smallest_singular_values(features: jax.Array, count: int = 1) -> jax.Array:
    """Sum of the squares of the `count` smallest ones of an (N, D) batch (Chen et al. 2019, BSS)."""
    return jnp.sum(jnp.square(jnp.linalg.svd(features, compute_uv=False)[-count:]))


def class_relationship(probabilities: jax.Array, labels: jax.Array, mask: jax.Array, classes: int) -> jax.Array:
    """(N, S) probabilities of old classes, (N,) new labels, (N,) rows that count -> (classes, S) sums by new class.

    Over the images of a class their mean is p(old class | new class), the direct way of Co-Tuning (You et al. 2020).
    """
    belongs = jax.nn.one_hot(labels, classes, dtype=probabilities.dtype) * mask.astype(probabilities.dtype)[:, None]
    return belongs.T @ probabilities
