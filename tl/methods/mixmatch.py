"""MixMatch (Berthelot et al. 2019, arXiv:1905.02249, algorithm 1): sharpened guesses, and mixtures of all images.

loss = CE(z(x'_l), y') + weight min(t / rise, 1) mean (p(x'_u) - q')^2
q = m^(1 / temperature), of sum 1,  m: the mean of stop(p) over two views of an image
x'_i = b x_i + (1 - b) x_j, and y', q' likewise,  b = max(c, 1 - c),  c ~ Beta(alpha, alpha)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses
from tl.batches import Batch, interleave, join, parted
from tl.methods.base import Method, plain_labels, the_classification, within
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 75.0,
    temperature: float = 0.5,
    alpha: float = 0.75,
    rise: float = 1.0,
) -> Method:
    """`weight` of the unlabelled term, rising in a line over the share `rise`; `alpha` of the mixtures' Beta."""
    task = the_classification(tasks, "mixmatch")
    plain_labels("mixmatch", task)
    within("temperature", temperature, 1e-3, 1)
    within("alpha", alpha, 1e-3, 1e3)
    within("rise", rise, 1e-6, 1)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        views = [batch["target"], batch["target_strong"]]
        said = jax.nn.softmax(net.outputs(join(*views), update_stats=False)[task.name])
        guess = sharpened(jnp.stack(parted(jax.lax.stop_gradient(said), 2)).mean(axis=0), temperature)
        known = jax.nn.one_hot(batch["train"][task.name], task.outputs, dtype=guess.dtype)
        image = interleave(*(rows["image"] for rows in (batch["train"], *views)))
        image = image.astype(jnp.promote_types(net.dtype, jnp.float32))
        targets = interleave(known, guess, guess)
        share = jax.random.beta(jax.random.fold_in(key, 0), alpha, alpha, dtype=image.dtype)
        share = jnp.maximum(share, 1 - share)  # a mixture is above all the row in whose place it stands
        partner = jax.random.permutation(jax.random.fold_in(key, 1), image.shape[0])
        outputs = net.outputs({"image": share * image + (1 - share) * image[partner]})[task.name]
        wanted = share * targets + (1 - share) * targets[partner]
        (own, *others), (labels, *guesses) = parted(outputs, 3), parted(wanted, 3)
        labelled = losses.soft_cross_entropy(own, labels).mean()
        pairs = zip(others, guesses, strict=True)
        apart = sum(losses.squared_error(jax.nn.softmax(o), g).mean() for o, g in pairs) / 2
        value = labelled + weight * jnp.minimum(progress / rise, 1.0) * apart
        return value, {"loss_labelled": labelled, "apart": apart}

    return Method(streams=("train", "target", "target_strong"), steps=[(loss, None)])


def sharpened(probabilities: jax.Array, temperature: float) -> jax.Array:
    """(N, C) to the power of 1 / `temperature`, of sum 1 again (eq. 7)."""
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)
