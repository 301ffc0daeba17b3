"""Learning without forgetting (Li and Hoiem 2016, arXiv:1606.09282, eq. 2) in a classifier that learns class by class.

    loss = CE(z[new], y) + weight T^2 KL(softmax(z0[earlier] / T), softmax(z[earlier] / T)),  T = temperature
    z0: by the network of the stage's start

New images alone: their labels tell new classes apart, and for earlier classes the network goes on saying what it said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, plain_labels, start_of, supervised, the_classification, within
from tl.tasks import Task, head_name


def make(tasks: Mapping[str, Task], *, weight: float = 1.0, temperature: float = 2.0, earlier: int) -> Method:
    """`weight`: of the earlier answers; `temperature` of both softmaxes. Where no class is new all are told apart."""
    task = the_classification(tasks, "lwf_incremental")
    within("temperature", temperature, 1e-3, math.inf)
    plain_labels("lwf_incremental", task)
    new = earlier % task.outputs  # the first new class

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        if not earlier:
            return supervised(net, tasks, inputs), {}
        outputs, labels = net.outputs(inputs)[task.name], inputs[task.name]
        said = jax.lax.stop_gradient(net.elsewhere(**memory).outputs(inputs, train=False)[task.name])
        old = losses.distillation(outputs[:, :earlier], said[:, :earlier], temperature).mean()
        # Among all classes the new ones would win by the labels alone: no earlier class is ever right here.
        own = losses.cross_entropy(outputs[:, new:], labels - new).mean() if new else task.loss(outputs, labels)
        return own + weight * old, {"loss_new": own, "loss_earlier": old}

    return Method(
        streams=("train",),
        steps=[(loss, None)],
        memory=lambda net, data: start_of(net, "backbone", head_name(list(tasks), task.name)) if earlier else (),
    )
