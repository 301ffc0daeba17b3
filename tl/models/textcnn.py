"""Kim 2014, Convolutional Neural Networks for Sentence Classification (arXiv:1408.5882): windows of words, and their
maximum over a sentence. The bound on the length of the classifier's weights is left out.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from tl.models import words
from tl.models.layers import Maps, Mode, conv_init, run
from tl.models.ops import dot, per_channel, wide
from tl.preprocess import Preprocess

VARIANTS = {"textcnn": {}}
PREPROCESS = {"textcnn": Preprocess()}


class Window(nn.Module):
    """(N, L, C) -> (N, features): the maximum over all windows of `size` words, some of them beyond the ends."""

    size: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", conv_init, (self.size, x.shape[-1], self.features), wide(x.dtype))
        bias = self.param("bias", nn.initializers.zeros, (self.features,), wide(x.dtype))
        around = self.size - 1
        count = x.shape[1] + around
        x = jnp.pad(x, ((0, 0), (around, around), (0, 0)))
        windows = jnp.concatenate([x[:, i : i + count] for i in range(self.size)], axis=2)
        y = jnp.max(dot(windows, kernel.reshape(-1, self.features).astype(x.dtype)), axis=1)
        y = jnp.maximum(y, 0)  # as windows beyond the end give: of one sentence the same with any padding
        return nn.relu(y + per_channel(bias, y).astype(x.dtype))


class Windows(nn.Module):
    sizes: tuple[int, ...]
    features: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        return jnp.concatenate([Window(size, self.features, name=f"conv{size}")(x) for size in self.sizes], axis=1)


class Backbone(nn.Module):
    """(N, L) tokens -> maps "embedding" (N, L, width), "windows" (N, features of each size side by side)."""

    reads = "tokens"

    vocabulary: int = 2
    width: int = 25
    sizes: tuple[int, ...] = (3, 4, 5)
    features: int = 100
    dropout: float = 0.5
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("embedding", "windows", "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        drop = nn.Dropout(self.dropout, deterministic=not mode.train)
        layers: list[nn.Module] = [
            words.Embedding(self.vocabulary, self.width, self.dtype, name="embedding"),
            Windows(self.sizes, self.features, name="windows"),
        ]
        return run(layers, x, mode, start, lambda x: drop(x).astype(wide(x.dtype)))


names = words.names
