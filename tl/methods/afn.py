"""Stepwise adaptive feature norm (Xu et al. 2019, arXiv:1811.07456): features grow a step at a time, eq. 7.

loss = CE(z_s, y) + weight (g(s) + g(t)) + entropy mean H(p_t)
g(x) = mean (|f(x)| - stop(|f(x)|) - step)^2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import alignment, losses
from tl.batches import Batch
from tl.methods.base import Method, source_and_target, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 0.05, step: float = 1.0, entropy: float = 0.0) -> Method:
    """`step`: by how much norms are to grow (delta r); `entropy`: weight of the target's entropy (their ENT)."""
    task = the_classification(tasks, "afn")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        seen = source_and_target(net, task, batch)
        growth = sum(alignment.feature_norm_step(rows, step).mean() for rows in (seen.source, seen.target))
        value = seen.loss + weight * growth
        if entropy:
            value += entropy * losses.entropy(seen.target_logits).mean()
        return value, {"loss_source": seen.loss, "growth": growth}

    return Method(streams=("train", "target"), steps=[(loss, None)])
