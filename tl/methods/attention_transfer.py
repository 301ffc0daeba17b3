"""Attention transfer (Zagoruyko and Komodakis 2017, arXiv:1612.03928): to look where the teacher looks, eq. 2.

loss = CE(z, y) + weight / 2 sum_maps mean (Q - Q_teacher)^2
Q = q / |q|,  q: the mean over channels of the squares of a map
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import distillation
from tl.batches import Batch
from tl.methods.base import Method, Part, parts_of, taught, the_classification
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 1000.0,
    maps: tuple[str, ...] = (),
    teacher_maps: tuple[str, ...] = (),
    teacher: Part | None,
) -> Method:
    """`weight`: the paper's beta. `maps` of the student are matched with `teacher_maps` in turn; (): stage by stage."""
    task = the_classification(tasks, "attention_transfer")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        here, outputs = net.maps_and_outputs(inputs)
        there = taught(net, teacher, inputs)
        apart = sum(
            distillation.attention_distance(here[own], there[other], (own, other))
            for own, other in distillation.pairs_of(here, there, maps, teacher_maps)
        )
        task_loss = task.loss(outputs[task.name], inputs[task.name])
        return task_loss + 0.5 * weight * apart, {"loss_task": task_loss, "apart": apart}

    return Method(streams=("train",), steps=[(loss, None)], parts=parts_of(teacher))
