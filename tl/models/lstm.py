"""Hochreiter and Schmidhuber 1997, Long short-term memory: a sentence is read word by word, both ways (Graves and
Schmidhuber 2005), and known by the two states at its ends.
"""

from __future__ import annotations

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
    """(N, L, C) -> (N, 2 * hidden): the last state forwards, and that backwards."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        lengths = words.length(x)

        def read(name: str, reverse: bool) -> jax.Array:
            cell = nn.OptimizedLSTMCell(self.hidden, dtype=x.dtype, param_dtype=wide(x.dtype), name=name)
            (_, state), _ = nn.RNN(cell, return_carry=True, reverse=reverse)(x, seq_lengths=lengths)
            return state

        return jnp.concatenate([read("forwards", False), read("backwards", True)], axis=1)


class Backbone(nn.Module):
    """(N, L) tokens -> maps "embedding" (N, L, width), "lstm" (N, 2 * hidden)."""

    reads = "tokens"

    vocabulary: int = 2
    width: int = 25
    hidden: int = 128
    dropout: float = 0.5
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("embedding", "lstm", "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        drop = nn.Dropout(self.dropout, deterministic=not mode.train)
        layers: list[nn.Module] = [
            words.Embedding(self.vocabulary, self.width, self.dtype, name="embedding"),
            Layer(self.hidden, name="lstm"),
        ]
        return run(layers, x, mode, start, lambda x: drop(x).astype(wide(x.dtype)))


names = words.names
