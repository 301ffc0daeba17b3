"""SimpleShot (Wang et al. 2019, arXiv:1911.04623): plain classification, then the nearest mean of features of length 1.

    loss = CE(z, y) in training
    score(q, c) = -|u(f(q)) - u(m_c)|^2,  m_c: the mean of u(f) over the shots of c,  u(x) = x / |x|

With `finetune` steps a linear classifier that begins as these means learns from the shots (Chen et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import contrast, losses
from tl import episodes as maths
from tl.batches import Batch
from tl.episodes import Episodes
from tl.errors import InputError
from tl.methods.base import Method, supervised, the_classification, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, finetune: int = 0, rate: float = 1.0, episodes: Episodes) -> Method:
    """`finetune`: steps on an episode's shots before its queries are told apart, at the learning rate `rate`."""
    task = the_classification(tasks, "nearest_mean")
    within("finetune", finetune, 0, 10_000)
    within("rate", rate, 0, math.inf)
    if episodes.train is not None:
        raise InputError("the method 'nearest_mean' is trained without episodes: set config.episode.batch=0.")
    shape = episodes.test

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        return supervised(net, tasks, batch["train"]), {}

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        support, query = maths.parted(contrast.unit(net.features(inputs)), shape)
        means = contrast.unit(maths.means(support, shape))
        # -|q - m|^2 = 2 q m - |m|^2 - |q|^2, linear in q but for what all classes have in common.
        linear = {"kernel": 2 * means, "bias": -jnp.square(means).sum(axis=-1)}
        linear = jax.vmap(learnt)(linear, maths.in_line(support, shape))
        outputs = jnp.einsum("eqd,ewd->eqw", query, linear["kernel"]) + linear["bias"][:, None]
        return {task.name: maths.in_place(outputs, shape)}

    def learnt(linear: dict[str, jax.Array], shots: jax.Array) -> dict[str, jax.Array]:
        """The classifier of one episode after its steps on (way * shot, D) features."""

        def cost(linear: dict[str, jax.Array]) -> jax.Array:
            outputs = shots @ linear["kernel"].T + linear["bias"][None]
            return losses.cross_entropy(outputs, maths.labels_of_shots(shape)).mean()

        def step(_: Any, linear: dict[str, jax.Array]) -> dict[str, jax.Array]:
            return jax.tree.map(lambda leaf, slope: leaf - rate * slope, linear, jax.grad(cost)(linear))

        return jax.lax.fori_loop(0, finetune, step, linear)

    return Method(streams=("train",), steps=[(loss, None)], predict=predict)
