"""Entropy minimisation on unlabelled images (Grandvalet and Bengio 2005, eq. 4), for a target domain.

loss = CE(z_s, y) + weight mean H(p_t)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, source_and_target, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 0.1) -> Method:
    task = the_classification(tasks, "minimum_entropy")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        seen = source_and_target(net, task, batch)
        unsure = losses.entropy(seen.target_logits).mean()
        return seen.loss + weight * unsure, {"loss_source": seen.loss, "entropy": unsure}

    return Method(streams=("train", "target"), steps=[(loss, None)])
