"""Risk extrapolation (Krueger et al. 2021, arXiv:2003.00688, eq. 8): equal risks in all labelled domains.

loss = mean_d R_d + v mean_d (R_d - mean R)^2,  v = 1 up to t = begin, then weight    R_d: the mean loss on domain d
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import alignment
from tl.batches import Batch, by_domain
from tl.methods.base import Method, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 10.0, begin: float = 0.1, domains: int) -> Method:
    """The variance has weight 1 up to the share `begin` of the run, `weight` from then on (DomainBed's annealing)."""
    task = the_classification(tasks, "vrex")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        rows = batch["train"]
        per_row = task.each(net.outputs(rows)[task.name], rows[task.name])
        risks = alignment.risks(per_row, by_domain(rows, domains))
        spread = alignment.risk_variance(risks)
        now = jnp.where(progress < begin, 1.0, weight)
        return risks.mean() + now * spread, {"risk": risks.mean(), "variance": spread}

    return Method(streams=("train",), steps=[(loss, None)])
