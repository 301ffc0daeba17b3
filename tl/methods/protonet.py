"""Prototypical networks (Snell et al. 2017, arXiv:1703.05175): the class of the nearest mean of shots, eq. 1 and 2.

p(c | q) = softmax over c of -|f(q) - m_c|^2,  m_c: the mean of f over the shots of c
loss = mean over queries of -log p(y | q)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import episodes as maths
from tl.episodes import Episodes, Shape
from tl.methods.base import Method, by_episodes
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, episodes: Episodes) -> Method:
    """No hyper-parameters but the shape of the episodes."""

    def outputs(net: Any, inputs: Mapping[str, jax.Array], shape: Shape) -> jax.Array:
        support, query = maths.parted(net.features(inputs), shape)
        return -maths.squared_distance(query, maths.means(support, shape))

    return by_episodes("protonet", tasks, episodes, outputs)
