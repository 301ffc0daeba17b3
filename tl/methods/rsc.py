"""Representation self-challenging (Huang et al. 2020, arXiv:2007.02454, algorithm 1): mutes the strongest features.

loss = CE(classifier(f mask), y)
mask = 0 where d z_y / d f is among the share `features` of largest ones, else 1
for the share `rows` of the images whose p_y falls most by it; for others mask = 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl.batches import Batch
from tl.methods.base import Method, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, features: float = 1 / 3, rows: float = 1 / 3) -> Method:
    """`features`: the share that is muted of those of an image, by their gradient for the true class (eq. 1 and 2);
    `rows`: the share of the images of a batch that this is done to, those that it hurts most.
    """
    task = the_classification(tasks, "rsc")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        labels = batch["train"][task.name]
        seen = net.features(batch["train"])

        def evidence(values: jax.Array) -> jax.Array:
            logits = net.classify(values, train=False)
            return jnp.take_along_axis(logits, labels[:, None], axis=1).sum()

        seen_now = jax.lax.stop_gradient(seen)
        use = jax.lax.stop_gradient(jax.grad(evidence)(seen_now))
        kept = use < jnp.quantile(use, 1 - features, axis=1, keepdims=True)
        muted = seen_now * kept

        def sure(values: jax.Array) -> jax.Array:
            return jnp.take_along_axis(jax.nn.softmax(net.classify(values, train=False)), labels[:, None], axis=1)[:, 0]

        drop = jax.lax.stop_gradient(sure(seen_now) - sure(muted))
        hurt = drop >= jnp.quantile(drop, 1 - rows)
        mask = jnp.where(hurt[:, None], kept, True)
        return task.loss(net.classify(seen * mask), labels), {}

    return Method(streams=("train",), steps=[(loss, None)])
