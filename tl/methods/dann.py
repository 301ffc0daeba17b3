"""Domain-adversarial training (Ganin et al. 2016, arXiv:1505.07818): features that tell no domain apart, eq. 9 and 18.

    loss = CE(z_s, y) + weight mean over domains of CE(D(reverse(f, a(t))), domain) + singular sum_streams s_1(f)^2
    a(t) = 2 / (1 + exp(-alpha t)) - 1,  s_1: the largest singular value of a stream's features

Without a target the labelled domains are told apart: domain generalisation as in DomainBed (arXiv:2007.01434).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import alignment
from tl.batches import Batch, domain_of, join, parted
from tl.methods.base import Method, Part, aligned_streams, the_classification
from tl.models.heads import Discriminator
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 1.0,
    alpha: float = 10.0,
    hidden: tuple[int, ...] = (1024, 1024),
    norm: bool = True,
    singular: float = 0.0,
    adapt: bool = True,
    domains: int,
    target: bool,
) -> Method:
    """`alpha`: how fast the reversed gradient's strength grows over the run, see alignment.growing_strength.

    `hidden`, `norm`: layers of the discriminator and whether they have batch norm. `singular`: weight of batch spectral
    penalisation (Chen et al. 2019, BSP, eq. 6), on the largest singular value of each domain's features.
    Without `adapt` a target is not read.
    """
    task = the_classification(tasks, "dann")
    streams = aligned_streams(domains, target, adapt)
    count = domains + len(streams) - 1

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        features, outputs = net.both(join(*(batch[stream] for stream in streams)), streams=len(streams))
        supervised = task.loss(parted(outputs[task.name], len(streams))[0], batch["train"][task.name])
        reversed_ = alignment.reverse_gradient(features, alignment.growing_strength(progress, alpha))
        told = alignment.domain_loss(net.discriminator(reversed_), domain_of(batch, domains, streams))
        value = supervised + weight * told.loss
        if singular:
            value += singular * sum(map(alignment.largest_singular_values, parted(features, len(streams))))
        return value, {"loss_source": supervised, "loss_domain": told.loss, "domain_accuracy": told.accuracy}

    return Method(
        streams=streams,
        steps=[(loss, None)],
        parts={"discriminator": Part(lambda: Discriminator(count, tuple(hidden), norm))},
    )
