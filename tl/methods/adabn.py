"""Adaptive batch normalisation (Li et al. 2016, arXiv:1603.04779): the target's own statistics, and nothing else.

    mean <- 0.9 mean + 0.1 mean(x),  var <- 0.9 var + 0.1 var(x)    x: what enters a batch norm, of a target batch

The second of two stages (see configs/adabn.py): no parameter moves, running statistics forget the source's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task]) -> Method:
    """The entropy of the predictions is reported as the loss; its gradient moves nothing."""
    task = the_classification(tasks, "adabn")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        unsure = losses.entropy(net.outputs(batch["target"])[task.name]).mean()
        return jax.lax.stop_gradient(unsure) + jnp.zeros_like(unsure), {}

    return Method(streams=("target",), steps=[(loss, None)])
