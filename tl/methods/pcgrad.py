"""Several tasks whose gradients are kept from pulling against each other (Yu et al. 2020, arXiv:2001.06782).

g_k <- g_k - min(g_k g_j, 0) / |g_j|^2 g_j    for every other task j, in a random order
gradient = sum_k g_k,  g_k = d L_k / d shared at first
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from tl import multitask
from tl.batches import Batch
from tl.methods.base import Method, loss_of_each
from tl.tasks import Task, own_parts


def make(tasks: Mapping[str, Task], *, layers: Mapping[str, str]) -> Method:
    """No hyper-parameters. What the tasks share is compared, which is all but their heads and layers of some."""
    multitask.several("pcgrad", tasks)
    own = own_parts(list(tasks), layers)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        each = loss_of_each(net, tasks, batch["train"])
        multitask.has_common(net.params, own)
        return each, {**multitask.named("loss", tasks, each), "order": jax.random.permutation(key, len(tasks))}

    def gradient(objective: Callable[[Any], tuple[jax.Array, Any]], params: Any) -> tuple[Any, Any]:
        losses, each, (aux, stats) = multitask.gradient_of_each(objective, params)
        common = [multitask.shared(tree, own) for tree in each]
        apart = multitask.without_conflicts(common, aux["order"])
        found = multitask.total(each) | multitask.total(apart)
        aux = {name: value for name, value in aux.items() if name != "order"}
        aux["conflict"] = (multitask.cosines(common) < 0).mean(dtype=losses.dtype)
        return found, (losses.sum(), (aux, stats))

    return Method(streams=("train",), steps=[(loss, None)], gradient=gradient)
