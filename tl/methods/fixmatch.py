"""FixMatch (Sohn et al. 2020, arXiv:2001.07685), from a labelled domain to another: eq. 3 and 4 on the target.

loss = CE(z_s, y) + weight mean[sure CE(z'_t, argmax q)]    ': the strong view
q = stop(softmax(z_t / temperature)),  sure = max q >= threshold
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, labelled_and_views, the_classification
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 1.0,
    threshold: float = 0.95,
    temperature: float = 1.0,
    strong: bool = True,
) -> Method:
    """What is surely predicted for one view of an image is the label of a strongly augmented one.

    Without `strong` both are the same image, under two draws of dropout.
    """
    task = the_classification(tasks, "fixmatch")
    streams = ("train", "target", *(("target_strong",) if strong else ()))

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        views = ("target", "target_strong" if strong else "target")
        supervised, (seen, logits) = labelled_and_views(net, task, batch, *views)
        guess = jax.lax.stop_gradient(jax.nn.softmax(seen / temperature))
        sure = (guess.max(axis=1) >= threshold).astype(guess.dtype)
        own = (sure * losses.cross_entropy(logits, guess.argmax(axis=1))).mean()
        return supervised + weight * own, {"loss_source": supervised, "loss_target": own, "sure": sure.mean()}

    return Method(streams=streams, steps=[(loss, None)])
