"""T3A (Iwasawa and Matsuo 2021, "Test-time classifier adjustment module", algorithm 1): templates from what is asked.

    z_c(x) = f(x) u(sum of u(f) over the supports of c),  u(x) = x / |x|

A class is answered by the mean of its supports, of length 1: its row of the classifier first, then features of test
images that the classifier files under it. A batch is filed before it is answered, as the authors' code does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import contrast, losses
from tl.errors import InputError
from tl.methods.base import Method, the_classification, within
from tl.tasks import Task, head_name


def make(tasks: Mapping[str, Task], *, supports: int = 20) -> Method:
    """`supports` of each class are kept, those of least entropy; the paper's M, chosen there among 1 to 100 and all."""
    task = the_classification(tasks, "t3a")
    within("supports", supports, 1, 1e6)
    head = head_name(list(tasks), task.name)

    def memory(net: Any, data: Any) -> dict[str, jax.Array]:
        """(C, M, D) `features` of length 1 and their (C, M) `entropy`, of places not yet taken infinity."""
        (rows, *_) = data["train"]
        width = jax.eval_shape(net.features, rows).shape[1]
        kernel = net.params[head]["kernel"]
        if set(net.params[head]) != {"kernel", "bias"} or kernel.shape[0] != width:
            raise InputError(
                "the method 't3a' begins with the rows of a linear classifier of the features: set head.hidden=(), "
                "head.maps=() and head.pool='gap', and weights of such a network."
            )
        features = jnp.zeros((task.outputs, supports, width), kernel.dtype)
        entropy = jnp.full((task.outputs, supports), jnp.inf, kernel.dtype)
        own = losses.entropy(net.classify(kernel.T)).astype(kernel.dtype)
        return {
            "features": features.at[:, 0].set(contrast.unit(kernel.T)),
            "entropy": entropy.at[:, 0].set(own),
        }

    def online(net: Any, memory: Any, rows: Mapping[str, jax.Array]):
        features, outputs = net.both(rows)
        memory = filed(memory, features, outputs[task.name])
        return jnp.zeros(()), {task.name: features @ templates(memory).T}, memory

    return Method(streams=("train",), steps=[], memory=memory, online=online)


def filed(memory: Mapping[str, jax.Array], features: jax.Array, logits: jax.Array) -> dict[str, jax.Array]:
    """The supports after a batch of (N, D) features with (N, C) logits: of each class the surest of old and new."""
    classes, kept = memory["entropy"].shape
    own = jax.nn.one_hot(logits.argmax(axis=1), classes, axis=0, dtype=bool)  # (C, N)
    new = jnp.where(own, losses.entropy(logits)[None], jnp.inf)
    entropy = jnp.concatenate([memory["entropy"], new.astype(memory["entropy"].dtype)], axis=1)
    surest = jnp.argsort(entropy, axis=1)[:, :kept]
    unit = contrast.unit(features).astype(memory["features"].dtype)

    def of_one(old: jax.Array, places: jax.Array) -> jax.Array:
        return jnp.concatenate([old, unit])[places]

    return {
        "features": jax.vmap(of_one)(memory["features"], surest),
        "entropy": jnp.take_along_axis(entropy, surest, axis=1),
    }


def templates(memory: Mapping[str, jax.Array]) -> jax.Array:
    """(C, D) the direction of the mean of each class's supports."""
    there = jnp.isfinite(memory["entropy"])[:, :, None]
    return contrast.unit(jnp.where(there, memory["features"], 0).sum(axis=1))
