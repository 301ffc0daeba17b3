"""Conditional adversarial adaptation (Long et al. 2018, arXiv:1705.10667): domains told from f (x) g, eq. 5 to 8.

loss = CE(z_s, y) + weight (mean_s w CE(D(h), 0) + mean_t w CE(D(h), 1)) / 2
h = reverse(f (x) stop(p), 2 / (1 + exp(-alpha t)) - 1),  w = 1; CDAN+E: w ~ 1 + exp(-H(p)), of mean 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import alignment
from tl.batches import Batch, interleave
from tl.methods.base import Method, Part, source_and_target, the_classification
from tl.models.heads import Discriminator
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 1.0,
    alpha: float = 10.0,
    entropy: bool = False,
    hidden: tuple[int, ...] = (1024, 1024),
    norm: bool = True,
) -> Method:
    """`entropy`: rows weigh by their certainty (CDAN+E, eq. 8). `alpha`: how fast the reversed gradient grows.

    `hidden`, `norm`: layers of the discriminator and whether they have batch norm.
    """
    task = the_classification(tasks, "cdan")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        seen = source_and_target(net, task, batch)
        logits = interleave(seen.source_logits, seen.target_logits)
        both = alignment.multilinear(interleave(seen.source, seen.target), logits)
        both = alignment.reverse_gradient(both, alignment.growing_strength(progress, alpha))
        domain = jnp.arange(logits.shape[0]) % 2
        weights = None
        if entropy:
            weights = interleave(*map(alignment.certainty_weights, (seen.source_logits, seen.target_logits)))
        told = alignment.domain_loss(net.discriminator(both), domain, weights)
        value = seen.loss + weight * told.loss
        return value, {"loss_source": seen.loss, "loss_domain": told.loss, "domain_accuracy": told.accuracy}

    return Method(
        streams=("train", "target"),
        steps=[(loss, None)],
        parts={"discriminator": Part(lambda: Discriminator(2, tuple(hidden), norm))},
    )
