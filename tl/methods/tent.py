"""Tent (Wang et al. 2021, arXiv:2006.10726, section 3): norm layers follow the entropy of predictions at test time.

    loss = mean H(p(x)) over a batch of test images

Batch norm takes the statistics of each batch, its scales and shifts move by the gradient of eq. 1, and a batch is
answered before what it taught: the answers to it are there when its step is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import losses
from tl.errors import InputError
from tl.methods.base import Method, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task]) -> Method:
    """No hyper-parameters but what moves, config.groups, and how, config.optim, schedule and eval_batch_size."""
    task = the_classification(tasks, "tent")

    def memory(net: Any, data: Any) -> tuple[()]:
        if not net.stats:
            raise InputError(
                "the method 'tent' adapts batch norm, and the network has none: take weights of one that has, or "
                "method=t3a."
            )
        return ()

    def online(net: Any, memory: Any, rows: Mapping[str, jax.Array]):
        outputs = net.outputs(rows)
        return losses.entropy(outputs[task.name]).mean(), outputs, memory

    return Method(streams=("train",), steps=[], memory=memory, online=online)
