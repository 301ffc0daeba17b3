"""The variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114): the bound of eq. 10, one sample an image.

loss = -log N(x; decoder(v), deviation^2) + KL(N(m, s^2), N(0, 1)),  v = m + s e,  e ~ N(0, 1)
m, log s^2: linear in the features, `latent` numbers each
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, Part, within
from tl.models.decoders import Decoder
from tl.models.heads import Head
from tl.tasks import Task
from tl.unlabelled import decoded, method


def make(tasks: Mapping[str, Task], *, latent: int = 32, deviation: float = 1.0, width: int = 16) -> Method:
    """`latent` numbers stand for an image; `deviation` of its pixels from what is drawn of these, and `width` of that.

    The loss is minus the bound, in nats an image, of all numbers of the normalised image.
    """
    within("latent", latent, 1, math.inf)
    within("deviation", deviation, 1e-3, 1e3)
    within("width", width, 1, math.inf)

    def posterior(net: Any, inputs: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """(N, latent) means and logarithms of variances."""
        said = net.classify(net.features(inputs), part="posterior")
        return said[:, :latent], said[:, latent:]

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        rows = batch["target"]
        mean, log_variance = posterior(net, rows)
        sample = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape, mean.dtype)
        drawn, wanted = decoded(net, sample, rows), net.pixels(rows)
        n = len(wanted)
        surprise = losses.normal_surprise(wanted.reshape(n, -1), drawn.reshape(n, -1), deviation).mean()
        divergence = losses.divergence_from_normal(mean, log_variance).mean()
        return surprise + divergence, {"surprise": surprise, "divergence": divergence}

    def pictures(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> OrderedDict[str, jax.Array]:
        mean, _ = posterior(net, inputs)
        prior = jax.random.normal(jax.random.key(0), mean.shape, mean.dtype)
        codes = [("drawn again", mean), ("drawn of nothing", prior)]
        return OrderedDict((name, net.pictured(decoded(net, code, inputs))) for name, code in codes)

    parts = {"posterior": Part(lambda: Head(2 * latent)), "decoder": Part(lambda: Decoder(width))}
    return method("vae", tasks, loss, parts, pictures=pictures)
