"""The small network of few-shot papers: blocks of 3 x 3 convolution, norm, ReLU and pooling (Vinyals et al. 2016, 4.1).

As in Snell et al. 2017 (arXiv:1703.05175) the last map as one vector is the features: 64 of 28 x 28 pixels.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from tl import errors
from tl.models import names as table
from tl.models.layers import BatchNorm, Conv, GroupNorm, Maps, Mode, relu, run
from tl.models.ops import max_pool, wide
from tl.preprocess import Preprocess

VARIANTS = {"conv4": {}}
PREPROCESS = {"conv4": Preprocess(size=28, resize=28, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))}
NORMS = ("batch", "group", "none")


class Stage(nn.Module):
    width: int
    norm: str
    pool: bool

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        x = Conv(self.width, bias=self.norm == "none", name="conv")(x)
        if self.norm == "batch":
            x = BatchNorm(name="bn")(x, mode)
        elif self.norm == "group":
            x = GroupNorm(groups=min(8, self.width), name="gn")(x)
        x = relu(x, mode)
        return max_pool(x, window=2, strides=2) if self.pool else x


class Backbone(nn.Module):
    """(N, H, W, 3) -> maps "stage1", ..., of which the first `pools` halve the size; with `grey` it sees the mean.

    `norm`: "batch", "group" (an image's features then depend on no other image) or "none".
    """

    widths: tuple[int, ...] = (64, 64, 64, 64)
    pools: int = 4
    norm: str = "batch"
    grey: bool = True
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return (*(f"stage{i}" for i in range(1, len(self.widths) + 1)), "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        if self.norm not in NORMS:
            raise errors.unknown("norm of conv4", self.norm, NORMS)
        mode = mode.inside(self)
        layers = [Stage(width, self.norm, i <= self.pools, name=f"stage{i}") for i, width in enumerate(self.widths, 1)]
        if self.grey and not start:
            x = jnp.mean(x, axis=-1, keepdims=True)
        return run(layers, x.astype(self.dtype), mode, start, _flat)


def _flat(x: jax.Array) -> jax.Array:
    if 0 in x.shape:
        raise errors.InputError("the images are too small for conv4: set config.image_size to 28, or 16 at least.")
    return x.reshape(x.shape[0], -1).astype(wide(x.dtype))


def names(**_: object) -> list[table.Row]:
    """No file of others is converted: those that are published keep biases in front of the norms."""
    return []
