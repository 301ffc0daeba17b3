"""Adversarial discriminative adaptation (Tzeng et al. 2017, arXiv:1702.05464): eq. 5 to 9, the second of two stages.

    discriminator:  min (CE(D(f0(s)), 0) + CE(D(f(t)), 1)) / 2    f0: the network that the stage begins with
    encoder:        min CE(D(f(t)), 0)

The run must start from a network trained on the source (config.stages, see configs/adda.py). Its features of source
images stay what they are; those of target images move until a discriminator takes them for the source's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import alignment
from tl.batches import Batch, interleave
from tl.methods.base import Method, Part, start_of, the_classification
from tl.models.heads import Discriminator
from tl.tasks import Task

ENCODER = ("backbone", "bottleneck")


def make(tasks: Mapping[str, Task], *, hidden: tuple[int, ...] = (1024, 1024), norm: bool = False) -> Method:
    """`hidden`, `norm`: layers of the discriminator and whether they have batch norm."""
    the_classification(tasks, "adda")

    def discriminate(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        source = net.elsewhere(**memory).features(batch["train"], train=False)
        rows = interleave(source, net.features(batch["target"], update_stats=False))
        told = alignment.domain_loss(net.discriminator(rows), jnp.arange(rows.shape[0]) % 2)
        return told.loss, {"domain_accuracy": told.accuracy}

    def deceive(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        logits = net.discriminator(net.features(batch["target"]), update_stats=False)
        return alignment.domain_loss(logits, jnp.zeros(logits.shape[0], jnp.int32)).loss, {}

    return Method(
        streams=("train", "target"),
        steps=[(discriminate, ("discriminator",)), (deceive, ENCODER)],
        parts={"discriminator": Part(lambda: Discriminator(2, tuple(hidden), norm))},
        memory=lambda net, data: start_of(net, *(part for part in ENCODER if part in net.params)),
    )
