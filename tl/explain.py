"""Where in an image an answer comes from: maps of a differentiable score, and what they are worth.

`score(images (N, H, W, C)) -> (N,)`, such as one class's output; each row's depends on that row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

Score = Callable[[jax.Array], jax.Array]


def gradient(score: Score, images: jax.Array) -> jax.Array:
    """d score / d images, each row's own."""
    return jax.grad(lambda rows: score(rows).sum())(images)


def grad_cam(score: Score, maps: jax.Array) -> jax.Array:
    """(N, h, w, C) maps behind which `score` goes on -> (N, h, w) >= 0.

    Selvaraju et al. 2017 (arXiv:1610.02391), equations 1 and 2: the channels, weighed by the mean of the score's
    gradient over space, and what of their sum speaks for the score.
    """
    weights = gradient(score, maps).mean(axis=(1, 2), keepdims=True)
    return jax.nn.relu((weights * maps).sum(axis=-1))


def integrated_gradients(score: Score, images: jax.Array, baseline: jax.Array, steps: int = 50) -> jax.Array:
    """(N, H, W, C) shares of each value in score(images) - score(baseline), which is their sum.

    Sundararajan et al. 2017 (arXiv:1703.01365), equation 1; the integral along the straight line is taken by the
    midpoint rule in `steps` pieces.
    """
    way = images - baseline
    places = (jnp.arange(steps, dtype=images.dtype) + 0.5) / steps
    total = jax.lax.map(lambda share: gradient(score, baseline + share * way), places).mean(axis=0)
    return way * total


def smoothgrad(score: Score, images: jax.Array, key: jax.Array, noise: float = 0.15, samples: int = 50) -> jax.Array:
    """(N, H, W, C) gradients averaged over noisy copies: Smilkov et al. 2017 (arXiv:1706.03825), section 3.

    `noise` is the standard deviation as a share of the image's largest minus its smallest value.
    """
    axes = tuple(range(1, images.ndim))
    width = noise * (images.max(axis=axes, keepdims=True) - images.min(axis=axes, keepdims=True))

    def one(key: jax.Array) -> jax.Array:
        return gradient(score, images + width * jax.random.normal(key, images.shape, images.dtype))

    return jax.lax.map(one, jax.random.split(key, samples)).mean(axis=0)


def occlusion(score: Score, images: jax.Array, size: int, stride: int, fill: jax.Array | float) -> jax.Array:
    """(N, H, W): how far the score falls where a square of `size` pixels is `fill`.

    Zeiler and Fergus 2014 (arXiv:1311.2901), section 4.2. A pixel has the mean over the squares that cover it; the
    squares begin every `stride` pixels, the last at the edge.
    """
    height, width = images.shape[1:3]
    corners = jnp.asarray(
        [(top, left) for top in _starts(height, size, stride) for left in _starts(width, size, stride)]
    )
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    whole = score(images)

    def one(corner: jax.Array) -> tuple[jax.Array, jax.Array]:
        top, left = corner
        hidden = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
        fall = whole - score(jnp.where(hidden[None, :, :, None], fill, images))
        return fall[:, None, None] * hidden[None], hidden

    falls, hidden = jax.lax.map(one, corners)
    return falls.sum(axis=0) / hidden.sum(axis=0)[None]


def _starts(length: int, size: int, stride: int) -> list[int]:
    last = max(length - size, 0)
    return sorted({*range(0, last, stride), last})


def strength(values: jax.Array) -> jax.Array:
    """(N, H, W, C) shares or gradients -> (N, H, W): the sum of their sizes over the channels."""
    return jnp.abs(values).sum(axis=-1)


def to_unit(maps: jax.Array) -> jax.Array:
    """(N, h, w) -> each map divided by its largest value; a map without any above 0 stays 0."""
    most = maps.max(axis=(1, 2), keepdims=True)
    return jnp.where(most > 0, jnp.maximum(maps, 0) / jnp.where(most > 0, most, 1), 0)


def shuffled(params: Any, key: jax.Array) -> Any:
    """The tree with the entries of each array in another order: weights as large as before that know nothing."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, max(1, len(leaves)))
    mixed = [
        jax.random.permutation(k, leaf.reshape(-1)).reshape(leaf.shape) for k, leaf in zip(keys, leaves, strict=False)
    ]
    return jax.tree.unflatten(structure, mixed)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, h, w) twice -> (N,) Spearman's correlation of the two maps of each image; 0 where one map is flat."""
    pairs = [(np.asarray(a).reshape(-1), np.asarray(b).reshape(-1)) for a, b in zip(first, second, strict=True)]
    return np.array([0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else stats.spearmanr(a, b)[0] for a, b in pairs])


def sanity(maps_of: Callable[[Any], Any], params: Any, key: jax.Array) -> np.ndarray:
    """(N,) rank correlations of the maps of a network and of the same network with shuffled weights.

    Adebayo et al. 2018 (arXiv:1810.03292), section 3: a map that stays much the same (near 1) is about the image and
    not about what the network has learnt. `maps_of(params) -> (N, h, w)`.
    """
    return rank_correlation(np.asarray(maps_of(params)), np.asarray(maps_of(shuffled(params, key))))


def nearest(features: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(M, D) and (N, D) -> the `count` nearest rows of `features` to each query (N, count), and their cosines."""
    known, asked = (
        rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (features, queries)
    )
    cosine = asked @ known.T
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosine, order, axis=1)
