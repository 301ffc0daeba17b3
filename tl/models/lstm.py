"""Hochreiter and Schmidhuber 1997, Long short-term memory: a sentence is read word by word, both ways (Graves and
Schmidhuber 2005), and known by the two states at its ends; a word is known by the two states at its place.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tl.models import words
from tl.models.layers import Maps, Mode, run
from tl.models.ops import wide
from tl.preprocess import Preprocess

VARIANTS = {"lstm": {}}
PREPROCESS = {"lstm": Preprocess()}


class Layer(nn.Module):
    """(N, L, C) -> (N, L, 2 * hidden): the state at each word forwards, and that backwards; 0 behind the end."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        lengths = words.length(x)

        def read(name: str, reverse: bool) -> jax.Array:
            cell = nn.OptimizedLSTMCell(self.hidden, dtype=x.dtype, param_dtype=wide(x.dtype), name=name)
            read_all: Any = nn.RNN(cell, reverse=reverse, keep_order=True)
            return read_all(x, seq_lengths=lengths)

        states = jnp.concatenate([read("forwards", False), read("backwards", True)], axis=2)
        return jnp.where((jnp.arange(x.shape[1])[None] < lengths[:, None])[:, :, None], states, 0)


class Ends(nn.Module):
    """(N, L, 2 * hidden) states -> (N, 2 * hidden): the last one forwards, and backwards that at the first word."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        hidden, last = x.shape[2] // 2, jnp.maximum(words.length(x) - 1, 0)
        forwards = jnp.take_along_axis(x[:, :, :hidden], last[:, None, None], axis=1)[:, 0]
        return jnp.concatenate([forwards, x[:, 0, hidden:]], axis=1)


class Backbone(nn.Module):
    """(N, L) tokens -> maps "embedding" (N, L, width), "lstm" (N, L, 2 * hidden), "ends" (N, 2 * hidden)."""

    reads = "tokens"
    token_map = "lstm"

    vocabulary: int = 2
    width: int = 25
    hidden: int = 128
    dropout: float = 0.5
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("embedding", "lstm", "ends", "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        drop = nn.Dropout(self.dropout, deterministic=not mode.train)
        layers: list[nn.Module] = [
            words.Embedding(self.vocabulary, self.width, self.dtype, name="embedding"),
            Layer(self.hidden, name="lstm"),
            Ends(name="ends"),
        ]
        return run(layers, x, mode, start, lambda x: drop(x).astype(wide(x.dtype)))


names = words.names
