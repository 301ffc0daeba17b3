"""L2-SP (Li et al. 2018, arXiv:1802.01483): weights decay towards their start, those of new layers towards 0, eq. 3.

loss = CE(z, y) + alpha / 2 |w - w0|^2 + beta / 2 |v|^2    w: the backbone, w0: its start, v: new layers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import regularisers
from tl.batches import Batch
from tl.methods.base import Method, new_layers, start_of, supervised
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, alpha: float = 0.1, beta: float = 0.01) -> Method:
    """`alpha`: of the backbone's distance from its start; `beta`: of the new layers. Set optim.weight_decay to 0."""

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        task_loss = supervised(net, tasks, batch["train"])
        moved = regularisers.squared_distance(net.params["backbone"], memory["params"]["backbone"])
        size = regularisers.squared_norm(new_layers(net))
        return task_loss + 0.5 * (alpha * moved + beta * size), {"loss_task": task_loss, "moved": moved}

    return Method(streams=("train",), steps=[(loss, None)], memory=lambda net, data: start_of(net, "backbone"))
