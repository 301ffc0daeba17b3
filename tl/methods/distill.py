"""Distillation (Hinton et al. 2015, arXiv:1503.02531): a student of the teacher's softened answers, section 2.

    loss = (1 - share) CE(z, y) + share T^2 KL(softmax(z_teacher / T), softmax(z / T)),  T = temperature

With `mixup` both see the same mixtures of two images (Beyer et al. 2022, arXiv:2106.05237, section 3): a teacher that
has learnt these very images is sure of each, and only on others do its answers say more than the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import mixing
from tl.batches import Batch
from tl.methods.base import Method, Part, answers_loss, parts_of, taught, the_classification, within
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    share: float = 0.9,
    temperature: float = 4.0,
    mixup: float = 0.0,
    teacher: Part | None,
) -> Method:
    """`share`: of the teacher's answers in the loss, the labels have the rest; `temperature`: of both softmaxes.

    `mixup` is the alpha of the mixtures' Beta distribution; 0 is off.
    """
    task = the_classification(tasks, "distill")
    compared = answers_loss("distill", task, teacher, share, temperature)
    within("mixup", mixup, 0, 1e3)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        labels = inputs[task.name]
        if not mixup:
            outputs = net.outputs(inputs)[task.name]
            return compared(outputs, taught(net, teacher, inputs)["outputs"], labels)
        mixed = mixing.mixup(key, inputs["image"], mixup, net.dtype)
        inputs = {**inputs, "image": mixed.image}
        outputs, answers = net.outputs(inputs)[task.name], taught(net, teacher, inputs)["outputs"]
        (own, scalars), (other, others) = (
            compared(outputs, answers, found) for found in (labels, labels[mixed.partner])
        )
        mean = lambda a, b: mixed.share * a + (1 - mixed.share) * b  # noqa: E731
        return mean(own, other), jax.tree.map(mean, scalars, others)

    return Method(streams=("train",), steps=[(loss, None)], parts=parts_of(teacher))
