"""Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3): what mattered moves little.

    loss = CE(z, y) + weight / 2 sum_i F_i (theta_i - start_i)^2
    F_i = mean over kept images of (d log p_y / d theta_i)^2, at the start

The Fisher information is that of the kept images of all earlier classes, by their labels, where this stage begins: one
penalty that stands for all earlier stages, as in its online form (Schwarz et al. 2018, arXiv:1805.06370).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses, regularisers
from tl.batches import Batch
from tl.methods.base import Method, start_of, supervised, the_classification
from tl.tasks import Task, head_name


def make(tasks: Mapping[str, Task], *, weight: float = 100.0, earlier: int) -> Method:
    """`weight`: the paper's lambda. Times the rate and the largest Fisher information it must stay below 2."""
    task = the_classification(tasks, "ewc")
    parts = ("backbone", head_name(list(tasks), task.name))

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        task_loss = supervised(net, tasks, batch["train"])
        if not earlier:
            return task_loss, {}
        now = {part: net.params[part] for part in parts}
        moved = regularisers.squared_distance(now, memory["params"], memory["fisher"])
        return task_loss + 0.5 * weight * moved, {"loss_new": task_loss, "moved": moved}

    def memory(net: Any, data: Any) -> Any:
        if not earlier:
            return ()
        return {"params": start_of(net, *parts)["params"], "fisher": fisher(net, task, data["earlier"], parts)}

    return Method(
        streams=("train", "earlier") if earlier else ("train",),
        steps=[(loss, None)],
        memory=memory,
    )


def fisher(net: Any, task: Task, data: Any, parts: tuple[str, ...]) -> Any:
    """The mean over the images of `data` of the squared gradient of their label's log-probability, by parameter."""

    @jax.jit
    def sums(params: Any, stats: Any, inputs: Mapping[str, jax.Array]) -> Any:
        mask = inputs.get("mask", jnp.ones(inputs[task.name].shape[0], bool))

        def one(moving: Any, row: Mapping[str, jax.Array]) -> jax.Array:
            there = net.elsewhere({**params, **moving}, stats)
            return losses.cross_entropy(there.outputs(row, train=False)[task.name], row[task.name]).sum()

        def add(total: Any, row: Mapping[str, jax.Array]) -> Any:
            alone = {name: value[None] for name, value in row.items()}
            gradient = jax.grad(one)({part: params[part] for part in parts}, alone)
            counts = row["shown"]
            return jax.tree.map(lambda t, g: t + counts * jnp.square(g), total, gradient), None

        rows = {name: value for name, value in inputs.items() if name != "mask"}
        zeros = jax.tree.map(jnp.zeros_like, {part: params[part] for part in parts})
        return jax.lax.scan(add, zeros, {**rows, "shown": mask.astype(jnp.result_type(float))})[0], mask.sum()

    found = [sums(net.params, net.stats, inputs) for inputs in data]
    total, count = jax.tree.map(lambda *each: sum(each), *found)
    return jax.tree.map(lambda leaf: leaf / count, total)
