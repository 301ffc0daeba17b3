"""He et al. 2016, Deep Residual Learning (arXiv:1512.03385), section 4.2: the nets for CIFAR-10.

Shortcuts without parameters (option A): every second pixel, and channels of zeros on both sides. Layout and
names of the published weights: github.com/akamaster/pytorch_resnet_cifar10.
"""

from __future__ import annotations

import re

import flax.linen as nn
import jax
import jax.numpy as jnp

from tl.models import names as table
from tl.models.layers import BatchNorm, Conv, Maps, Mode, relu, remat, run
from tl.preprocess import Preprocess

VARIANTS = {f"resnet{6 * n + 2}_cifar": {"blocks": (n, n, n)} for n in (3, 5, 7, 9, 18)}
PREPROCESS = dict.fromkeys(VARIANTS, Preprocess(size=32, resize=32))


class Stem(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        x = Conv(self.width, name="conv")(x)
        return relu(BatchNorm(name="bn")(x, mode), mode)


class Block(nn.Module):
    width: int
    strides: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        y = Conv(self.width, strides=self.strides, name="conv1")(x)
        y = relu(BatchNorm(name="bn1")(y, mode), mode)
        y = Conv(self.width, name="conv2")(y)
        y = BatchNorm(name="bn2")(y, mode)
        if y.shape != x.shape:
            missing = self.width - x.shape[-1]
            x = x[:, :: self.strides, :: self.strides, :]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
        return relu(x + y, mode)


class Stage(nn.Module):
    width: int
    blocks: int
    strides: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        for i in range(1, self.blocks + 1):
            x = remat(Block, mode)(self.width, self.strides if i == 1 else 1, name=f"block{i}")(x, mode)
        return x


class Backbone(nn.Module):
    """(N, H, W, 3), trained at 32 px -> maps "stem" and "stage1" (width), "stage2" (/ 2), "stage3" (/ 4)."""

    blocks: tuple[int, ...] = (3, 3, 3)
    width: int = 16
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("stem", *(f"stage{i + 1}" for i in range(len(self.blocks))), "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        stages = [
            Stage(self.width * 2**i, blocks, strides=1 if i == 0 else 2, name=f"stage{i + 1}")
            for i, blocks in enumerate(self.blocks)
        ]
        stem = Stem(self.width, name="stem")
        return run([stem, *stages], x.astype(self.dtype), mode.inside(self), start)


def names(**_: object) -> list[table.Row]:
    """The published layout: conv1, bn1, layer1.0.conv1, ..., linear."""

    def layer(match: re.Match[str]) -> str:
        return f"stage{match[1]}/block{int(match[2]) + 1}/{match[3]}"

    return [
        *table.conv("conv1", "stem/conv"),
        *table.batch_norm("bn1", "stem/bn"),
        *table.conv(r"layer(\d+)\.(\d+)\.(conv\d)", layer),
        *table.batch_norm(r"layer(\d+)\.(\d+)\.(bn\d)", layer),
        *table.classifier("linear"),
    ]
