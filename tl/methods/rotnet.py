"""RotNet (Gidaris et al. 2018, arXiv:1803.07728): by which quarter turn was the image turned? Eq. 2 and 3.

loss = mean over images x and quarter turns k of CE(z(x turned k times), k)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses
from tl.batches import Batch, interleave
from tl.errors import InputError
from tl.methods.base import Method, Part
from tl.mixing import needs_pixels
from tl.models.heads import Head
from tl.tasks import Task
from tl.unlabelled import method

TURNS = 4


def make(tasks: Mapping[str, Task]) -> Method:
    """No hyper-parameters: every image stands in a batch in all four turns, as in the paper."""

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        image = batch["target"]["image"]
        logits = net.classify(net.features({"image": turned(image)}), part="turns")
        wanted = jnp.tile(jnp.arange(TURNS), len(image))
        return losses.cross_entropy(logits, wanted).mean(), {"accuracy": (logits.argmax(axis=1) == wanted).mean()}

    return method("rotnet", tasks, loss, {"turns": Part(lambda: Head(TURNS))})


def turned(image: jax.Array) -> jax.Array:
    """(N, S, S, 3) -> (4 N, S, S, 3): each image by 0, 90, 180 and 270 degrees against the clock."""
    needs_pixels("the method 'rotnet'", image)
    height, width = image.shape[1:3]
    if height != width:
        raise InputError(
            f"the method 'rotnet' turns images by quarters, and these are {height} x {width} pixels: let the "
            "transforms end with square ones."
        )
    return interleave(*(jnp.rot90(image, turn, axes=(1, 2)) for turn in range(TURNS)))
