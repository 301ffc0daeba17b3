"""What networks over single words share: vectors of words, and the layout in which GloVe publishes them."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tl.models import names as table
from tl.models.layers import Mode
from tl.models.ops import wide
from tl.text import FIRST, PADDING


class Embedding(nn.Module):
    """(N, L) tokens -> (N, L, width) vectors, 0 behind a sentence's end: so the layers behind know where that is."""

    vocabulary: int
    width: int
    dtype: str

    @nn.compact
    def __call__(self, tokens: jax.Array, mode: Mode) -> jax.Array:
        start = nn.initializers.normal(0.1)
        table = self.param("embedding", start, (self.vocabulary, self.width), wide(self.dtype))
        there = (tokens != PADDING)[:, :, None]
        return jnp.where(there, table[tokens], 0).astype(self.dtype)


def mask(x: jax.Array) -> jax.Array:
    """(N, L, D) map -> (N, L) whether there is a token."""
    return jnp.any(x != 0, axis=-1)


def length(x: jax.Array) -> jax.Array:
    """(N, L, D) map -> (N,) places up to the last token; a word's own vector may be 0."""
    return jnp.max(jnp.where(mask(x), jnp.arange(1, x.shape[1] + 1)[None], 0), axis=1)


def mean(x: jax.Array) -> jax.Array:
    """(N, L, D) map -> (N, D) mean over a sentence's tokens."""
    there = mask(x)[:, :, None].astype(x.dtype)
    return (x * there).sum(axis=1) / jnp.maximum(there.sum(axis=1), 1)


def names(**_: object) -> list[table.Row]:
    """`vectors` (words, width): before them come padding, 0, and any other word, the mean of all."""
    assert len(FIRST["words"]) == 2

    def longer(x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(x[:1]), x.mean(axis=0, keepdims=True), x])

    return [("vectors", "params/backbone/embedding/embedding", longer)]
