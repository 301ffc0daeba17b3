"""FitNets (Romero et al. 2015, arXiv:1412.6550): a map of the student grows like one of the teacher's, eq. 3.

    loss = (1 - share) CE(z, y) + share T^2 KL(softmax(z_teacher / T), softmax(z / T)) + weight / 2 mean (r(h) - h')^2
    T = temperature,  h, h': maps of student and teacher,  r: a regressor that is learnt beside

Both of the paper's stages at once: the hint, through a regressor of the teacher's width, and the answers, eq. 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import distillation
from tl.batches import Batch
from tl.methods.base import Method, Part, answers_loss, parts_of, taught, the_classification
from tl.models.heads import Regressor
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 1.0,
    share: float = 0.9,
    temperature: float = 4.0,
    hint: str = "stage2",
    teacher_hint: str = "",
    teacher: Part | None,
) -> Method:
    """`weight`: of the hint, between the maps `hint` and `teacher_hint`, "" for the same; the others as in distill."""
    task = the_classification(tasks, "fitnets")
    mixed = answers_loss("fitnets", task, teacher, share, temperature)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        here, outputs = net.maps_and_outputs(inputs)
        there = taught(net, teacher, inputs)
        ((own, other),) = distillation.pairs_of(here, there, (hint,), (teacher_hint or hint,))
        distillation.same_places(here[own], there[other], (own, other))
        guess = net.call("regressor", here[own], there[other].shape[-1])
        apart = distillation.hint_distance(guess, there[other], (own, other))
        value, terms = mixed(outputs[task.name], there["outputs"], inputs[task.name])
        return value + weight * apart, {**terms, "apart": apart}

    return Method(
        streams=("train",), steps=[(loss, None)], parts={**parts_of(teacher), "regressor": Part(lambda: Regressor())}
    )
