"""Deep CORAL (Sun and Saenko 2016, arXiv:1607.01719, eq. 1 and 6); over several labelled domains as in DomainBed.

loss = CE(z_s, y) + weight mean over pairs of domains of |C_a - C_b|^2 / (4 D^2)
C: the covariance of a domain's D features
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import alignment
from tl.batches import Batch, domain_of, join, parted
from tl.methods.base import Method, aligned_streams, the_classification
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 1.0,
    means: bool = False,
    adapt: bool = True,
    domains: int,
    target: bool,
) -> Method:
    """The mean over all pairs of domains; with a target (and `adapt`) it is one of them, else none is unlabelled.

    `means`: differences of means too, and mean squares (Gulrajani and Lopez-Paz 2021), in place of the paper's scale.
    """
    task = the_classification(tasks, "coral")
    distance = alignment.mean_and_covariance_difference if means else alignment.coral
    streams = aligned_streams(domains, target, adapt)
    pairs = list(itertools.combinations(range(domains + len(streams) - 1), 2))

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        features, outputs = net.both(join(*(batch[stream] for stream in streams)), streams=len(streams))
        supervised = task.loss(parted(outputs[task.name], len(streams))[0], batch["train"][task.name])
        domain = domain_of(batch, domains, streams)
        belongs = [jnp.where(domain == number, 1.0, 0.0).astype(features.dtype) for number in range(pairs[-1][1] + 1)]
        apart = jnp.stack([distance(features, features, belongs[i], belongs[j]) for i, j in pairs]).mean()
        return supervised + weight * apart, {"loss_source": supervised, "discrepancy": apart}

    return Method(streams=streams, steps=[(loss, None)])
