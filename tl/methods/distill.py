"""Distillation (Hinton et al. 2015, arXiv:1503.02531): a student of the teacher's softened answers, section 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl.methods.base import Batch, Method, Part, answers_loss, parts_of, taught, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, share: float = 0.9, temperature: float = 4.0, teacher: Part | None) -> Method:
    """`share`: of the teacher's answers in the loss, the labels have the rest; `temperature`: of both softmaxes."""
    task = the_classification(tasks, "distill")
    mixed = answers_loss("distill", task, teacher, share, temperature)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        outputs = net.outputs(inputs)[task.name]
        return mixed(outputs, taught(net, teacher, inputs)["outputs"], inputs[task.name])

    return Method(streams=("train",), steps=[(loss, None)], parts=parts_of(teacher))
