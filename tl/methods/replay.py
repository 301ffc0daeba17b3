"""Experience replay (Chaudhry et al. 2019, arXiv:1902.10486): kept images of earlier classes beside each new batch.

loss = CE(z_new, y) + weight CE(z_kept, y)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl.batches import Batch, join, parted
from tl.methods.base import Method, supervised, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 1.0, earlier: int) -> Method:
    """`weight`: of the loss on earlier images."""
    task = the_classification(tasks, "replay")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        if not earlier:
            return supervised(net, tasks, batch["train"]), {}
        both = (batch["train"], batch["earlier"])
        new, old = (
            task.loss(outputs, rows[task.name])
            for outputs, rows in zip(parted(net.outputs(join(*both))[task.name], 2), both, strict=True)
        )
        return new + weight * old, {"loss_new": new, "loss_earlier": old}

    return Method(streams=("train", "earlier") if earlier else ("train",), steps=[(loss, None)])
