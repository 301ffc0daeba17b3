"""Several tasks, weighed by how fast their losses fall: dynamic weight average (Liu et al. 2019, arXiv:1803.10704).

loss = sum_k w_k L_k,  w = K softmax(r / temperature),  r_k = L_k(last stretch) / L_k(the one before)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import multitask
from tl.batches import Batch
from tl.methods.base import Method, loss_of_each, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, temperature: float = 2.0, every: int = 50) -> Method:
    """Losses are compared between stretches of `every` steps (the paper: epochs); `temperature` evens the weights."""
    multitask.several("dwa", tasks)
    within("temperature", temperature, 1e-3, math.inf)
    within("every", every, 1, math.inf)

    def weights(memory: Any) -> jax.Array:
        # Two whole stretches must lie behind.
        begun = memory["means"].min() > 0
        means = jnp.where(begun, memory["means"], 1.0)
        return multitask.by_pace(means[0], means[1], temperature)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        each = loss_of_each(net, tasks, batch["train"])
        shares = weights(memory).astype(each.dtype)
        scalars = multitask.named("loss", tasks, each) | multitask.named("weight", tasks, shares)
        return (shares * each).sum(), {**scalars, "carry": {"losses": jax.lax.stop_gradient(each)}}

    def after(memory: Any, variables: Any, carry: Any) -> Any:
        total = memory["total"] + carry["losses"].astype(memory["total"].dtype)
        steps = memory["steps"] + 1
        full = steps == every
        means = jnp.where(full, jnp.stack([memory["means"][1], total / every]), memory["means"])
        return {"means": means, "total": jnp.where(full, 0.0, total), "steps": jnp.where(full, 0, steps)}

    def mean(carries: Any) -> Any:
        return jax.tree.map(lambda each: each.mean(axis=0), carries)

    def memory(net: Any, data: Any) -> dict[str, jax.Array]:
        count = len(tasks)
        return {"means": jnp.zeros((2, count)), "total": jnp.zeros(count), "steps": jnp.zeros((), jnp.int32)}

    return Method(streams=("train",), steps=[(loss, None)], memory=memory, after=after, pieces=mean)
