"""Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, eq. 1 and 2): views agree, and no two features say the same.

loss = sum_i (1 - C_ii)^2 + weight sum_(i != j) C_ij^2
C: correlations over a batch between the projections of two views
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import contrast
from tl.batches import Batch
from tl.methods.base import Method, Part, within
from tl.models.heads import Projector
from tl.tasks import Task
from tl.unlabelled import PROJECTOR, VIEWS, method, projections


def make(tasks: Mapping[str, Task], *, weight: float = 5e-3, width: int = 8192) -> Method:
    """`weight` of what is redundant, the paper's lambda; `width` of each of the projector's three layers."""
    within("weight", weight, 0, math.inf)
    within("width", width, 2, math.inf)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        first, second = projections(net, batch)
        square = jnp.square(contrast.cross_correlation(first, second) - jnp.eye(width))
        differ = jnp.trace(square)
        redundant = square.sum() - differ
        return differ + weight * redundant, {"differ": differ, "redundant": redundant}

    parts = {PROJECTOR: Part(lambda: Projector(width, (width, width), norm=True))}
    return method("barlow", tasks, loss, parts, streams=VIEWS)
