"""Matching networks (Vinyals et al. 2016, arXiv:1606.04080): attention over shots, eq. 1, no full contexts.

p(c | q) = sum over the shots s of c of a_s,  a = softmax over all shots of scale cos(f(q), f(s))
loss = mean over queries of -log p(y | q)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
        cosine = jnp.einsum("eqd,esd->eqs", query, maths.in_line(support, shape))
        attention = jax.nn.log_softmax(scale * cosine, axis=-1)
        # The log of the attention that falls on each class.
        own = jnp.split(attention, np.cumsum(shape.shots)[:-1], axis=-1)
        return jnp.stack([jax.nn.logsumexp(one, axis=-1) for one in own], axis=-1)

    return by_episodes("matching", tasks, episodes, outputs)
