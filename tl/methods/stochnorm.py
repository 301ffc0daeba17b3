"""StochNorm (Kou et al. 2020, NeurIPS): channels are normalised by the batch or by what was before, at random.

y = scale (x - m) / sqrt(v) + bias,  (m, v): the running ones with `probability`, else the batch's
loss = CE(z, y)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl.batches import Batch
from tl.errors import InputError
from tl.methods.base import Method, supervised, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, probability: float = 0.5) -> Method:
    """`probability` that a channel takes its running statistics, drawn for each channel of each layer and step."""
    within("probability", probability, 0, 1)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        if net.params and not net.stats.get("backbone"):
            raise InputError("the method 'stochnorm' is about batch norm, and the backbone has none: take another.")
        return supervised(net, tasks, batch["train"], running_share=probability), {}

    return Method(streams=("train",), steps=[(loss, None)])
