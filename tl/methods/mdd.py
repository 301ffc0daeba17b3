"""Margin disparity discrepancy (Zhang et al. 2019, arXiv:1904.05801): an adversarial head, eq. 27 to 30.

loss = CE(z_s, y) + weight (margin CE(z'_s, argmax z_s) - mean log(1 - p'_t of argmax z_t))
z', p': the adversary's, on reverse(f, strength (2 / (1 + exp(-alpha t)) - 1))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import alignment
from tl.batches import Batch, interleave, parted
from tl.methods.base import Method, Part, source_and_target, the_classification
from tl.models.heads import Head
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    margin: float = 4.0,
    weight: float = 1.0,
    alpha: float = 10.0,
    strength: float = 0.1,
    hidden: tuple[int, ...] = (1024,),
) -> Method:
    """`margin`: gamma of eq. 27. `strength`: what the reversed gradient's factor grows to. `hidden`: its layers."""
    task = the_classification(tasks, "mdd")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        seen = source_and_target(net, task, batch)
        factor = strength * alignment.growing_strength(progress, alpha)
        rows = alignment.reverse_gradient(interleave(seen.source, seen.target), factor)
        source, target = parted(net.classify(rows, part="adversary"), 2)
        apart = alignment.margin_disparity((seen.source_logits, seen.target_logits), (source, target), margin)
        return seen.loss + weight * apart, {"loss_source": seen.loss, "disparity": apart}

    return Method(
        streams=("train", "target"),
        steps=[(loss, None)],
        parts={"adversary": Part(lambda: Head(task.outputs, tuple(hidden)))},
    )
