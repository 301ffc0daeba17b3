"""Invariant risk minimisation (Arjovsky et al. 2019, arXiv:1907.02893): IRMv1 over the labelled domains.

loss = (mean_d R_d + v mean_d P_d) / max(v, 1),  v = 1 up to t = begin, then weight
P_d = (d/dw R_d(w z) at w = 1)^2    R_d: the mean loss on domain d
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


def make(tasks: Mapping[str, Task], *, weight: float = 100.0, begin: float = 0.1, domains: int) -> Method:
    """Label smoothing and class weights act on the risk alone.

    The penalty has weight 1 up to the share `begin` of the run, `weight` from then on (DomainBed's annealing).
    """
    task = the_classification(tasks, "irm")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        rows = batch["train"]
        logits, belongs = net.outputs(rows)[task.name], by_domain(rows, domains)
        risks = alignment.risks(task.each(logits, rows[task.name]), belongs)
        penalties = [alignment.invariance_penalty(logits, rows[task.name], own) for own in belongs]
        penalty = jnp.stack(penalties).mean()
        now = jnp.where(progress < begin, 1.0, weight)
        # Scaled down as a whole, so that the step stays of one size when the weight jumps.
        return (risks.mean() + now * penalty) / jnp.maximum(now, 1.0), {"risk": risks.mean(), "penalty": penalty}

    return Method(streams=("train",), steps=[(loss, None)])
