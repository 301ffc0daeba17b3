"""Several tasks, weighed by learnt uncertainties (Kendall et al. 2018, arXiv:1705.07115, eq. 7 and 10).

loss = sum_k (c_k exp(-s_k) L_k + s_k / 2),  s_k = log sigma_k^2 is learnt,  c_k = 1 for classes, 1/2 for values
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import multitask
from tl.batches import Batch
from tl.methods.base import Method, Part, loss_of_each
from tl.models.heads import Scalars
from tl.tasks import Task


def make(tasks: Mapping[str, Task]) -> Method:
    """No hyper-parameters: every s starts at 0."""
    multitask.several("uncertainty", tasks)
    halves = [0.5 if task.kind == "regression" else 1.0 for task in tasks.values()]

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        each = loss_of_each(net, tasks, batch["train"])
        log_variance = net.log_variance()
        value = (jnp.exp(-log_variance) * jnp.array(halves, each.dtype) * each + log_variance / 2).sum()
        return value, multitask.named("loss", tasks, each) | multitask.named("log_variance", tasks, log_variance)

    part = Part(lambda: Scalars(len(tasks)))
    return Method(streams=("train",), steps=[(loss, None)], parts={"log_variance": part})
