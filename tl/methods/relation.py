"""Relation networks (Sung et al. 2018, arXiv:1711.06025): a network says how alike two maps are, eq. 1 to 3.

loss = mean over queries q of sum_c (r(q, c) - [y = c])^2
r(q, c) = g(sum of F over the shots of c, F(q))    F: a map, g: the network that compares
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import episodes as maths
from tl.episodes import Episodes, Shape
from tl.errors import InputError, unknown
from tl.methods.base import Method, Part, by_episodes
from tl.models.heads import Relation
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task], *, map: str = "stage4", width: int = 64, hidden: int = 8, episodes: Episodes
) -> Method:
    """`map` of the backbone that is compared, the sum over a class's shots; `width` and `hidden` of the comparison."""

    def outputs(net: Any, inputs: Mapping[str, jax.Array], shape: Shape) -> jax.Array:
        maps = net.maps(inputs)
        if map not in maps:
            raise unknown("map in method_args.map", map, list(maps))
        support, query = maths.parted(maps[map], shape)
        classes = support.sum(axis=2)[:, None]  # (E, 1, way, H, W, C)
        pair = jnp.broadcast_shapes(classes.shape, query[:, :, None].shape)
        both = [jnp.broadcast_to(classes, pair), jnp.broadcast_to(query[:, :, None], pair)]
        pairs = jnp.concatenate(both, axis=-1)
        return net.call("relation", pairs.reshape(-1, *pairs.shape[3:])).reshape(pairs.shape[:3])

    learnt = episodes.train and (episodes.train.shot,) * episodes.test.way
    if learnt and episodes.test.shots != learnt:
        raise InputError(
            f"the method 'relation' adds up the shots of a class, of which it has learnt {learnt[0]}: give so many of "
            f"each class, not {', '.join(str(shot) for shot in episodes.test.shots)}."
        )
    parts = {"relation": Part(lambda: Relation(width, hidden))}
    return by_episodes("relation", tasks, episodes, outputs, parts=parts, compare=squared)


def squared(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """(N, way) scores and (N,) labels -> (N,) squared distance to 1 for the class and 0 for the others, eq. 2."""
    return jnp.square(scores - jax.nn.one_hot(labels, scores.shape[-1], dtype=scores.dtype)).sum(axis=-1)
