"""Relational distillation (Park et al. 2019, arXiv:1904.05068): images lie to each other as for the teacher.

loss = CE(z, y) + distance mean h(d_ij - d'_ij) + angle mean h(cos_ijk - cos'_ijk)    ': the teacher's
d_ij = |f_i - f_j| over its mean,  cos_ijk: of the angle at j between i and k,  h: Huber's loss
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import distillation
from tl.batches import Batch
from tl.methods.base import Method, Part, parts_of, taught, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, distance: float = 25.0, angle: float = 50.0, teacher: Part | None) -> Method:
    """`distance`, `angle`: weights of the two terms, the paper's 1 : 2, on the pooled features."""
    task = the_classification(tasks, "relational")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        here, outputs = net.maps_and_outputs(inputs)
        there = taught(net, teacher, inputs)
        apart, turned = distillation.relational(here["pooled"], there["pooled"])
        task_loss = task.loss(outputs[task.name], inputs[task.name])
        value = task_loss + distance * apart + angle * turned
        return value, {"loss_task": task_loss, "distances": apart, "angles": turned}

    return Method(streams=("train",), steps=[(loss, None)], parts=parts_of(teacher))
