"""The Pi-model (Laine and Aila 2017, arXiv:1610.02242, algorithm 1): two views of an image get the same answer.

loss = CE(z_l, y) + weight r(t) mean (p_u - p'_u)^2    ': another view
r(t) = exp(-5 (1 - min(t / rise, 1))^2)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, labelled_and_views, the_classification, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 10.0, rise: float = 0.4) -> Method:
    """`weight` of the squared difference, reached after the share `rise` of the run; views also differ by dropout."""
    task = the_classification(tasks, "pi_model")
    within("rise", rise, 0, 1)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        supervised, (first, second) = labelled_and_views(net, task, batch, "target", "target_strong")
        apart = losses.squared_error(jax.nn.softmax(first), jax.nn.softmax(second)).mean()
        value = supervised + weight * losses.risen(progress, rise) * apart
        return value, {"loss_labelled": supervised, "apart": apart}

    return Method(streams=("train", "target", "target_strong"), steps=[(loss, None)])
