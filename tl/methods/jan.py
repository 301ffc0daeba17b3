"""Joint adaptation network (Long et al. 2017, arXiv:1605.06636): features and predictions together, eq. 7 and 10.

loss = CE(z_s, y) + weight MMD^2
MMD^2 = mean_(i != j) (k(s_i, s_j) + k(t_i, t_j) - k(s_i, t_j) - k(t_i, s_j))
k(a, b) = k_f(f(a), f(b)) k_p(p(a), p(b)),  each sum_(c in its scales) exp(-|u - v|^2 / (2 c m)), as in dan
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import alignment
from tl.batches import Batch
from tl.methods.base import Method, source_and_target, the_classification
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 1.0,
    scales: tuple[tuple[float, ...], ...] = ((0.125, 0.25, 0.5, 1.0, 2.0), (1.0,)),
) -> Method:
    """`scales`: factors on the mean squared distance, of the features' kernels and of the predictions'."""
    task = the_classification(tasks, "jan")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        seen = source_and_target(net, task, batch)
        layers = [
            (seen.source, seen.target),
            (jax.nn.softmax(seen.source_logits), jax.nn.softmax(seen.target_logits)),
        ]
        apart = alignment.kernel_mean_difference(layers, scales)
        return seen.loss + weight * apart, {"loss_source": seen.loss, "discrepancy": apart}

    return Method(streams=("train", "target"), steps=[(loss, None)])
