"""Group distributionally robust optimisation (Sagawa et al. 2020, arXiv:1911.08731, algorithm 1): the worst domain.

loss = sum_d w_d R_d,  w_d <- w_d exp(rate R_d), of sum 1    R_d: the mean loss on domain d
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


def make(tasks: Mapping[str, Task], *, rate: float = 0.01, domains: int) -> Method:
    """`rate`: of the exponentiated steps by which the domains' weights, the memory, follow their risks."""
    task = the_classification(tasks, "group_dro")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        rows = batch["train"]
        per_row = task.each(net.outputs(rows)[task.name], rows[task.name])
        risks = alignment.risks(per_row, by_domain(rows, domains))
        weights = memory * jnp.exp(rate * jax.lax.stop_gradient(risks)).astype(memory.dtype)
        weights = weights / weights.sum()
        return (weights * risks).sum(), {"risk": risks.mean(), "carry": {"weights": weights}}

    return Method(
        streams=("train",),
        steps=[(loss, None)],
        memory=lambda net, data: jnp.full(domains, 1 / domains, jnp.result_type(float)),
        after=lambda memory, variables, carry: carry["weights"],
    )
