"""Distillation (Hinton et al. 2015, arXiv:1503.02531): a student of the teacher's softened answers, section 2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax

from tl import losses
from tl.methods.base import Batch, Method, Part, parts_of, same_classes, taught, the_classification, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, share: float = 0.9, temperature: float = 4.0, teacher: Part | None) -> Method:
    """`share`: of the teacher's answers in the loss, the labels have the rest; `temperature`: of both softmaxes."""
    task = the_classification(tasks, "distill")
    same_classes("distill", teacher, task)
    within("share", share, 0, 1)
    within("temperature", temperature, 1e-3, math.inf)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        outputs = net.outputs(inputs)[task.name]
        answers = taught(net, teacher, inputs)["outputs"]
        own = losses.distillation(outputs, answers, temperature).mean()
        task_loss = task.loss(outputs, inputs[task.name])
        return (1 - share) * task_loss + share * own, {"loss_task": task_loss, "loss_teacher": own}

    return Method(streams=("train",), steps=[(loss, None)], parts=parts_of(teacher))
