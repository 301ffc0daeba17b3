"""SimCLR (Chen et al. 2020, arXiv:2002.05709, algorithm 1): two views of an image are alike, in a batch of others.

loss = mean_i -log(exp(c_ij / temperature) / sum_(k != i) exp(c_ik / temperature))    j: the other view of i
c: the cosine of two projections, over all views of a batch
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax

from tl import contrast
from tl.batches import Batch
from tl.methods.base import Method, Part, within
from tl.models.heads import Projector
from tl.tasks import Task
from tl.unlabelled import PROJECTOR, VIEWS, method, projections


def make(tasks: Mapping[str, Task], *, temperature: float = 0.1, width: int = 128, hidden: int = 2048) -> Method:
    """`width` of the projections that are compared, over a layer of `hidden`."""
    within("temperature", temperature, 1e-3, math.inf)
    within("width", width, 1, math.inf)
    within("hidden", hidden, 1, math.inf)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        first, second = projections(net, batch)
        return contrast.nt_xent(first, second, temperature).mean(), {}

    parts = {PROJECTOR: Part(lambda: Projector(width, (hidden,), norm=False))}
    return method("simclr", tasks, loss, parts, streams=VIEWS)
