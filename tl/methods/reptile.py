"""Reptile (Nichol et al. 2018, arXiv:1803.02999, algorithm 2): towards where a few steps on each episode lead.

gradient = theta - mean over episodes of theta'
theta' = theta - rate d CE(z(images; theta), y) / d theta, `steps` times
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import episodes as maths
from tl import inner
from tl.batches import Batch
from tl.episodes import Episodes, Shape
from tl.methods.base import Method, by_episodes, same_way, the_classification, within
from tl.tasks import Task, head_name


def make(
    tasks: Mapping[str, Task], *, rate: float = 0.1, steps: int = 5, test_steps: int = 20, episodes: Episodes
) -> Method:
    """`rate` and `steps` of gradient descent on all images of an episode, `test_steps` on the shots in evaluation.

    The optimiser follows the way from where these lead back to the start, as if it were a gradient.
    """
    task = the_classification(tasks, "reptile")
    same_way("reptile", episodes)
    within("rate", rate, 0, math.inf)
    within("steps", steps, 1, 1000)
    within("test_steps", test_steps, 0, 1000)
    parts = ("backbone", "bottleneck", head_name(list(tasks), task.name))

    def adapted(net: Any, images: jax.Array, labels: jax.Array, count: int) -> Any:
        def cost(params: Any) -> jax.Array:
            return task.loss(net.elsewhere(params, {}).outputs({"image": images})[task.name], labels)

        return inner.descended(cost, inner.start(net, parts, {"image": images}, "reptile"), rate, count)

    def outputs(net: Any, inputs: Mapping[str, jax.Array], shape: Shape) -> jax.Array:
        support, query = maths.parted(inputs["image"], shape)
        labels = maths.labels_of_shots(shape)

        def one(shots: jax.Array, queries: jax.Array) -> jax.Array:
            moved = adapted(net, shots, labels, test_steps)
            return net.elsewhere(moved, {}).outputs({"image": queries})[task.name]

        return jax.vmap(one)(maths.in_line(support, shape), query)

    method = by_episodes("reptile", tasks, episodes, outputs, heads=True)
    shape = episodes.train
    assert shape is not None

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        images = batch["train"]["image"]
        start = inner.start(net, parts, {"image": images}, "reptile")
        labels = jnp.repeat(jnp.arange(shape.way), shape.shot + shape.query)
        episodes = images.reshape(-1, shape.rows, *images.shape[1:])
        ends = jax.vmap(lambda own: adapted(net, own, labels, steps))(episodes)
        # The gradient of their product with the start, as numbers, is the way back itself.
        back = jax.lax.stop_gradient(jax.tree.map(lambda leaf, end: leaf - end.mean(axis=0), start, ends))
        product = sum(jax.tree.leaves(jax.tree.map(lambda leaf, way: (leaf * way).sum(), start, back)))
        of_start = task.loss(net.outputs({"image": images})[task.name], jnp.tile(labels, len(episodes)))
        return product + jax.lax.stop_gradient(of_start - product), {"loss_start": jax.lax.stop_gradient(of_start)}

    return dataclasses.replace(method, steps=[(loss, None)])
