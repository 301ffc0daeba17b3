"""Self-training (Lee 2013, Pseudo-label, eq. 15 and 16): sure predictions on the target count as labels.

loss = CE(z_s, y) + weight a(t) mean[sure CE(z_t, argmax p_t)],  sure = max p_t >= threshold
a(t) = min(max((t - begin) / (1/2 - begin), 0), 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses
from tl.batches import Batch
from tl.errors import InputError
from tl.methods.base import Method, source_and_target, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 1.0, threshold: float = 0.9, begin: float = 0.1) -> Method:
    """`threshold` on the largest probability; the weight rises from 0 at `begin` to all at half of the run."""
    task = the_classification(tasks, "pseudo_label")
    if not 0 <= begin < 0.5:
        raise InputError(f"method_args.begin={begin} must lie in 0 <= begin < 0.5, as the weight is whole at half.")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        seen = source_and_target(net, task, batch)
        guess = jax.lax.stop_gradient(jax.nn.softmax(seen.target_logits))
        sure = (guess.max(axis=1) >= threshold).astype(guess.dtype)
        own = (sure * losses.cross_entropy(seen.target_logits, guess.argmax(axis=1))).mean()
        ramp = jnp.clip((progress - begin) / (0.5 - begin), 0.0, 1.0)
        return seen.loss + weight * ramp * own, {"loss_source": seen.loss, "loss_target": own, "sure": sure.mean()}

    return Method(streams=("train", "target"), steps=[(loss, None)])
