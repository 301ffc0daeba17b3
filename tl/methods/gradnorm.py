"""Several tasks, weighed so that their gradients are alike and none lags behind (Chen et al. 2018, arXiv:1711.02257).

    loss = sum_k w_k L_k,  G_k = |d(w_k L_k) / d shared|
    w <- w - rate d/dw sum_k |G_k - stop(mean(G) r_k^alpha)|, of sum K,  r_k = L_k / L_k(0) over its mean

The norms are those of all that the tasks share; the paper takes its last layer alone, to save time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import multitask
from tl.batches import Batch
from tl.methods.base import Method, loss_of_each, within
from tl.tasks import Task, own_parts


def make(tasks: Mapping[str, Task], *, alpha: float = 1.5, rate: float = 0.025, layers: Mapping[str, str]) -> Method:
    """`alpha`: how much a task that lags behind is helped; `rate` at which the weights move.

    With config.accumulate they move by the last piece of a batch alone.
    """
    multitask.several("gradnorm", tasks)
    within("alpha", alpha, 0, math.inf)
    within("rate", rate, 0, 1)
    own = own_parts(list(tasks), layers)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        each = loss_of_each(net, tasks, batch["train"])
        weights = memory["weights"].astype(each.dtype)
        multitask.has_common(net.params, own)
        scalars = multitask.named("loss", tasks, each) | multitask.named("weight", tasks, weights)
        return weights * each, {**scalars, "carry": {"losses": jax.lax.stop_gradient(each)}}

    def gradient(objective: Callable[[Any], tuple[jax.Array, Any]], params: Any) -> tuple[Any, Any]:
        losses, each, (aux, stats) = multitask.gradient_of_each(objective, params)
        common = [multitask.shared(tree, own) for tree in each]
        norms = jnp.sqrt(jnp.stack([multitask.dot(tree, tree) for tree in common]))
        return multitask.total(each), (losses.sum(), ({**aux, "carry": {**aux["carry"], "norms": norms}}, stats))

    def after(memory: Any, variables: Any, carry: Any) -> Any:
        first = jnp.where(memory["first"] > 0, memory["first"], carry["losses"])
        moved = multitask.balanced(memory["weights"], carry["norms"], carry["losses"], first, alpha, rate)
        return {"weights": moved.astype(memory["weights"].dtype), "first": first.astype(memory["first"].dtype)}

    def memory(net: Any, data: Any) -> dict[str, jax.Array]:
        return {"weights": jnp.ones(len(tasks)), "first": jnp.zeros(len(tasks))}

    return Method(streams=("train",), steps=[(loss, None)], memory=memory, after=after, gradient=gradient)
