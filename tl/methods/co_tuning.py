"""Co-Tuning (You et al. 2020, NeurIPS): the weights' own classifier learns on, from what old classes say of new ones.

    loss = CE(z, y) + weight CE(z_old, R_y)
    R_y: the mean of softmax(z_old) over the images of class y, at the start

p(old class | new class) is the mean of the old classifier's predictions over the images of a new class (their direct
way); its cross-entropy is added to the new classifier's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses, regularisers
from tl.batches import Batch
from tl.methods.base import OLD_HEAD, Method, Part, needs_classifier, the_classification
from tl.models.heads import Head
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 2.3, source_outputs: int) -> Method:
    """`weight`: of the old classes' cross-entropy."""
    task = the_classification(tasks, "co_tuning")
    needs_classifier("co_tuning", source_outputs)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        maps, outputs = net.maps_and_outputs(inputs)
        old = losses.soft_cross_entropy(net.call(OLD_HEAD, maps), memory[inputs[task.name]]).mean()
        task_loss = task.loss(outputs[task.name], inputs[task.name])
        return task_loss + weight * old, {"loss_task": task_loss, "loss_old": old}

    def memory(net: Any, data: Any) -> jax.Array:
        """(classes, old classes): p(old class | new class)."""

        @jax.jit
        def seen(params: Any, stats: Any, inputs: Mapping[str, jax.Array]) -> jax.Array:
            here = net.elsewhere(params, stats)
            said = jax.nn.softmax(here.call(OLD_HEAD, here.maps(inputs)))
            mask = inputs.get("mask", jnp.ones(said.shape[0], bool))
            return regularisers.class_relationship(said, inputs[task.name], mask, task.outputs)

        total = jnp.zeros((task.outputs, source_outputs))
        for inputs in data["train"]:
            total = total + seen(net.params, net.stats, inputs)
        # A class without images is never asked for.
        return total / jnp.maximum(total.sum(axis=1, keepdims=True), 1e-12)

    return Method(
        streams=("train",),
        steps=[(loss, None)],
        parts={OLD_HEAD: Part(lambda: Head(source_outputs), weights="head")},
        memory=memory,
    )
