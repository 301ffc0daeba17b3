"""Learning without forgetting (Li and Hoiem 2016, arXiv:1606.09282): the old classifier still says what it said, eq. 2.

    loss = CE(z, y) + weight T^2 KL(softmax(z_old0 / T), softmax(z_old / T)),  T = temperature
    z_old: the weights' own classifier, on the features as they are now; z_old0: as it was at the start

The weights' own classifier, for classes that the data need not have, goes on being answered for by the moving features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax

from tl import losses
from tl.batches import Batch
from tl.methods.base import OLD_HEAD, Method, Part, needs_classifier, start_of, the_classification, within
from tl.models.heads import Head
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 4.0, temperature: float = 2.0, source_outputs: int) -> Method:
    """`weight`: of the old answers, 1 in the paper, 4 in the Transfer Learning Library; `temperature` of both."""
    task = the_classification(tasks, "lwf")
    needs_classifier("lwf", source_outputs)
    within("temperature", temperature, 1e-3, math.inf)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        maps, outputs = net.maps_and_outputs(inputs)
        before = net.elsewhere(**memory).maps(inputs, train=False)
        taught = jax.lax.stop_gradient(net.call("teacher_head", before, train=False))
        old = losses.distillation(net.call(OLD_HEAD, maps), taught, temperature).mean()
        task_loss = task.loss(outputs[task.name], inputs[task.name])
        return task_loss + weight * old, {"loss_task": task_loss, "loss_old": old}

    return Method(
        streams=("train",),
        steps=[(loss, None)],
        parts={
            OLD_HEAD: Part(lambda: Head(source_outputs), weights="head"),
            "teacher_head": Part(lambda: Head(source_outputs), weights="head", trained=False),
        },
        memory=lambda net, data: start_of(net, "backbone"),
    )
