"""What methods share that learn from images without labels, and leave a backbone to be probed or fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import contrast
from tl.batches import Batch, join, parted
from tl.errors import InputError
from tl.methods.base import Loss, Method, Part, Pictures, class_means, the_classification
from tl.mixing import needs_pixels
from tl.tasks import Task

VIEWS = ("target", "target_strong")
PROJECTOR = "projector"


def method(
    name: str,
    tasks: Mapping[str, Task],
    loss: Loss,
    parts: Mapping[str, Part],
    *,
    streams: tuple[str, ...] = ("target",),
    pictures: Pictures | None = None,
) -> Method:
    """A method without a head, which answers by the class whose labelled images have the nearest mean of features.

    The labels are in no batch: evaluation alone goes through them.
    """
    task = the_classification(tasks, name)

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        return {task.name: contrast.to_means(net.features(inputs), memory["means"])}

    return Method(
        streams=streams,
        steps=[(loss, None)],
        parts=parts,
        heads=False,
        ready=lambda net, memory, data: {"means": class_means(net, data["train"], task)},
        kept=("means",),
        passes=("train",),
        predict=predict,
        pictures=pictures,
    )


def projections(net: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """(N, D) twice: what the projector makes of both views' features; InputError for one image, unlike no other."""
    rows = join(*(batch[view] for view in VIEWS))
    if len(batch[VIEWS[0]]["image"]) < 2:
        raise InputError(
            "the images of a batch are compared with each other, and it holds one: raise config.batch_size, or lower "
            "config.accumulate."
        )
    first, second = parted(net.call(PROJECTOR, net.features(rows)), 2)
    return first, second


def decoded(net: Any, features: jax.Array, inputs: Mapping[str, jax.Array]) -> jax.Array:
    """What the decoder makes of (N, D) features: normalised images of the size of those in `inputs`."""
    needs_pixels("an autoencoder", inputs["image"])
    return net.decoder(features, size=inputs["image"].shape[1:3])
