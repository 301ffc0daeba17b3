"""Virtual adversarial training (Miyato et al. 2018, arXiv:1704.03976, eq. 5 to 12): answers hold against any push.

loss = CE(z_l, y) + weight KL(stop(p(x)), p(x + size u(g)))
g = d/dr KL(stop(p(x)), p(x + probe r)) at a random r of length 1,  u(g) = g / |g|
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses
from tl.batches import Batch
from tl.methods.base import Method, labelled_and_views, the_classification, within
from tl.mixing import needs_pixels
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 1.0, size: float = 2.0, probe: float = 0.1) -> Method:
    """`size` of the push in the units of an image from 0 to 1 and `probe` of the one that finds its direction."""
    task = the_classification(tasks, "vat")
    within("size", size, 0, math.inf)
    within("probe", probe, 1e-6, math.inf)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        needs_pixels("the method 'vat'", batch["target"]["image"])
        supervised, (seen,) = labelled_and_views(net, task, batch, "target")
        image = batch["target"]["image"].astype(jnp.promote_types(net.dtype, jnp.float32))
        # Batch norm says other things of these images beside labelled ones than of these alone.
        alone = net.outputs(batch["target"], update_stats=False)[task.name] if net.stats else seen
        said = jax.lax.stop_gradient(alone)

        def apart(push: jax.Array) -> jax.Array:
            pushed = net.outputs({"image": image + 255 * push}, update_stats=False)[task.name]
            return losses.distillation(pushed, said).mean()

        direction = length_one(jax.random.normal(key, image.shape, image.dtype))
        direction = length_one(jax.lax.stop_gradient(jax.grad(lambda push: apart(probe * push))(direction)))
        smooth = apart(size * direction)
        return supervised + weight * smooth, {"loss_labelled": supervised, "apart": smooth}

    return Method(streams=("train", "target"), steps=[(loss, None)])


def length_one(rows: jax.Array) -> jax.Array:
    """(N, ...) of which each row as a whole has length 1; a row of nothing stays one."""
    axes = tuple(range(1, rows.ndim))
    return rows / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(rows), axis=axes, keepdims=True)), 1e-12)
