"""FlexMatch (Zhang et al. 2021, arXiv:2110.08263, eq. 5 to 9): FixMatch with a threshold for each class.

    loss = CE(z_l, y) + weight mean[sure CE(z'_u, c)],  c = argmax p_u    ': the strong view
    sure = max p_u >= threshold b_c / (2 - b_c),  b_c = n_c / max(n)
    n_c: images last surely taken for c; n has their number for each class, and for none

A class of which few images have been surely predicted so far is asked for less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses
from tl.batches import Batch, joined
from tl.methods.base import Method, labelled_and_views, the_classification, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 1.0, threshold: float = 0.95) -> Method:
    """`threshold` of the class that is learnt best."""
    task = the_classification(tasks, "flexmatch")
    within("threshold", threshold, 0, 1)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        supervised, (weak, strong) = labelled_and_views(net, task, batch, "target", "target_strong")
        guess = jax.lax.stop_gradient(jax.nn.softmax(weak))
        likely, most = guess.argmax(axis=1), guess.max(axis=1)
        sure = (most >= threshold * eased(memory, task.outputs)[likely]).astype(guess.dtype)
        own = (sure * losses.cross_entropy(strong, likely)).mean()
        # What is below the threshold itself leaves what was known of the image as it was.
        index = batch["target"]["index"]
        seen = jnp.where(most >= threshold, likely, memory[index]).astype(memory.dtype)
        scalars = {"loss_labelled": supervised, "loss_unlabelled": own, "sure": sure.mean()}
        return supervised + weight * own, {**scalars, "carry": {"index": index, "seen": seen}}

    def memory(net: Any, data: Any) -> jax.Array:
        count = getattr(data["target"], "size", 0) or len(next(iter(data["target"]))["index"])
        return jnp.full(count, task.outputs, jnp.int32)  # the class each image was last surely taken for; C: none

    return Method(
        streams=("train", "target", "target_strong"),
        steps=[(loss, None)],
        memory=memory,
        after=lambda memory, variables, carry: memory.at[carry["index"]].set(carry["seen"]),
        pieces=joined,
    )


def eased(seen: jax.Array, classes: int) -> jax.Array:
    """(C,) factors on the threshold: b / (2 - b), b the images taken for a class over those of the best, or of none."""
    counts = jnp.bincount(seen, length=classes + 1)
    share = counts[:classes] / jnp.maximum(counts.max(), 1)
    return share / (2 - share)
