"""Matching networks (Vinyals et al. 2016, arXiv:1606.04080): attention over shots, eq. 1, no full contexts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import contrast
from tl import episodes as maths
from tl.episodes import Episodes, Shape
from tl.methods.base import Method, by_episodes, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, scale: float = 10.0, episodes: Episodes) -> Method:
    """`scale` of the cosines before the softmax, 1 in the paper; a sharper one learns faster (Chen et al. 2019)."""
    within("scale", scale, 1e-3, 1e3)

    def outputs(net: Any, inputs: Mapping[str, jax.Array], shape: Shape) -> jax.Array:
        support, query = maths.parted(contrast.unit(net.features(inputs)), shape)
        cosine = jnp.einsum("eqd,ewsd->eqws", query, support)
        # The log of the attention that falls on each class.
        attention = jax.nn.log_softmax(scale * cosine.reshape(*cosine.shape[:2], -1), axis=-1).reshape(cosine.shape)
        return jax.nn.logsumexp(attention, axis=-1)

    return by_episodes("matching", tasks, episodes, outputs)
