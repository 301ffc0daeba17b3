"""The convolutional autoencoder (Masci et al. 2011, ICANN): pooled features from which a decoder draws the image again.

    loss = mean (decoder(f(x + noise e)) - x)^2,  e ~ N(0, 1)

With `noise` it is the denoising one (Vincent et al. 2010, JMLR 11, section 3): the clean image from a noisy one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, Part, within
from tl.models.decoders import Decoder
from tl.tasks import Task
from tl.unlabelled import decoded, method


def make(tasks: Mapping[str, Task], *, noise: float = 0.0, width: int = 16) -> Method:
    """`noise`: deviation of what is added to normalised images; `width`: channels of the decoder at their full size.

    The loss is the squared error a number of the normalised image: 1 is about the error of the mean image.
    """
    within("noise", noise, 0, math.inf)
    within("width", width, 1, math.inf)

    def seen(net: Any, inputs: Mapping[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The normalised images, and the inputs with noise."""
        pixels = net.pixels(inputs)
        if not noise:
            return pixels, dict(inputs)
        noisy = pixels + noise * jax.random.normal(key, pixels.shape, pixels.dtype)
        return pixels, {"image": net.pictured(noisy)}

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        wanted, rows = seen(net, batch["target"], key)
        drawn = decoded(net, net.features(rows), rows)
        return losses.squared_error(drawn.reshape(len(drawn), -1), wanted.reshape(len(drawn), -1)).mean(), {}

    def pictures(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> OrderedDict[str, jax.Array]:
        _, rows = seen(net, inputs, jax.random.key(0))
        noisy = [("with noise", rows["image"])] if noise else []
        return OrderedDict([*noisy, ("drawn again", net.pictured(decoded(net, net.features(rows), rows)))])

    return method("autoencoder", tasks, loss, {"decoder": Part(lambda: Decoder(width))}, pictures=pictures)
