"""Batch spectral shrinkage (Chen et al. 2019, NeurIPS): what the features hardly say is taken for harm.

loss = CE(z, y) + weight sum over the `count` smallest singular values s of a batch of features of s^2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import regularisers
from tl.batches import Batch
from tl.errors import InputError
from tl.methods.base import Method, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 1e-3, count: int = 1) -> Method:
    """`count`: how many of the smallest singular values of a batch of features shrink."""
    if any(task.kind == "tags" for task in tasks.values()):
        raise InputError("the method 'bss' shrinks features of sentences, which tags are not made of: take another.")

    within("count", count, 1, 10**6)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        features, outputs = net.both(inputs)
        task_loss = sum(task.loss(outputs[name], inputs[name]) for name, task in tasks.items())
        small = regularisers.smallest_singular_values(features, count)
        return task_loss + weight * small, {"loss_task": task_loss, "smallest": small}

    return Method(streams=("train",), steps=[(loss, None)])
