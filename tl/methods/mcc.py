"""Minimum class confusion (Jin et al. 2020, arXiv:1912.03699): the target's predictions alone, eq. 2 to 8.

loss = CE(z_s, y) + weight sum_(i != j) C_ij / classes
C = P' diag(w) P, its rows of sum 1,  P = softmax(z_t / temperature),  w ~ stop(1 + exp(-H(P))), of mean 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import alignment
from tl.batches import Batch
from tl.methods.base import Method, source_and_target, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 1.0, temperature: float = 2.5) -> Method:
    task = the_classification(tasks, "mcc")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        seen = source_and_target(net, task, batch)
        confusion = alignment.class_confusion(seen.target_logits, temperature)
        return seen.loss + weight * confusion, {"loss_source": seen.loss, "confusion": confusion}

    return Method(streams=("train", "target"), steps=[(loss, None)])
