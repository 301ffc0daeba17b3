"""No network: rows are an entity and a relation of a knowledge graph, whose embeddings are a method's own tables."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from tl.models import names as table
from tl.models.layers import Maps, Mode, run
from tl.models.ops import wide
from tl.preprocess import Preprocess

VARIANTS = {"triples": {}}
PREPROCESS = {"triples": Preprocess()}


class Backbone(nn.Module):
    """(N, 2) numbers of entity and relation -> the map "pooled", the same as they are."""

    reads = "triple"

    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("pooled",)

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        return run([], x, mode, start, lambda x: x.astype(wide(self.dtype)))


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


def names(**_: object) -> list[table.Row]:
    """There are no weights."""
    return []
