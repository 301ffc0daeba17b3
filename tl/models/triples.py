"""No network: rows are an entity and a relation of a knowledge graph, whose embeddings are a method's own tables."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from tl.models import vectors
from tl.models.layers import Mode
from tl.preprocess import Preprocess

VARIANTS = {"triples": {}}
PREPROCESS = {"triples": Preprocess()}
names = vectors.names


class Backbone(vectors.Backbone):
    """(N, 2) numbers of entity and relation -> the map "pooled", the same as they are."""

    reads = "triple"


class Table(nn.Module):
    """(N,) numbers -> (N, width) rows of `embedding`; of none -> all of it.

    Behind the `rows` that are asked for lie others, up to a multiple of 64, so that chips can share the table.
    """

    rows: int
    width: int
    start: Callable[..., jax.Array]  # an initialiser: (key, shape, dtype) -> array

    @nn.compact
    def __call__(self, numbers: jax.Array | None = None, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        found = self.param("embedding", self.start, (-(-self.rows // 64) * 64, self.width), jnp.result_type(float))
        return found if numbers is None else found[numbers]
