"""Deep adaptation network (Long et al. 2015, arXiv:1502.02791): a small mean discrepancy of the features, eq. 4.

loss = CE(z_s, y) + weight MMD^2
MMD^2 = mean_(i != j) (k(s_i, s_j) + k(t_i, t_j) - k(s_i, t_j) - k(t_i, s_j))
k(a, b) = sum_(c in scales) exp(-|f(a) - f(b)|^2 / (2 c m)),  m: the mean squared distance of features, stopped
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
    tasks: Mapping[str, Task], *, weight: float = 1.0, scales: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0)
) -> Method:
    """`scales`: factors on the mean squared distance, the bandwidths of the Gaussian kernels."""
    task = the_classification(tasks, "dan")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        seen = source_and_target(net, task, batch)
        apart = alignment.kernel_mean_difference([(seen.source, seen.target)], [scales])
        return seen.loss + weight * apart, {"loss_source": seen.loss, "discrepancy": apart}

    return Method(streams=("train", "target"), steps=[(loss, None)])
