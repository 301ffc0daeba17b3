"""Kolesnikov et al. 2020, Big Transfer (BiT): General Visual Representation Learning (arXiv:1912.11370).

ResNet-v2: pre-activation, group norm, standardised kernels. Published as .npz by the authors and, under other
names, as safetensors by timm (resnetv2_50x1_bit); both layouts are in the name table.
"""

from __future__ import annotations

import re

import flax.linen as nn
import jax
import numpy as np

from tl.models import names as table
from tl.models.layers import Conv, GroupNorm, Maps, Mode, fence, relu, remat, run
from tl.models.ops import max_pool
from tl.preprocess import Preprocess

VARIANTS = {"bit_resnet50x1": {"blocks": (3, 4, 6, 3)}}
PREPROCESS = dict.fromkeys(VARIANTS, Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


class Stem(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        x = Conv(self.width, size=7, strides=2, standardise=True, name="conv")(x)
        # No ReLU comes before the pool, so the original's border of zeros is not the same as one of -inf.
        return max_pool(x, window=3, strides=2, padding=1, fill=0.0)


class Downsample(nn.Module):
    features: int
    strides: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Conv(self.features, size=1, strides=self.strides, standardise=True, name="conv")(x)


class Block(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 to four times the width, each behind a group norm and a ReLU."""

    width: int
    strides: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        y = relu(GroupNorm(self.groups, name="norm1")(x), mode)
        if self.strides > 1 or x.shape[-1] != 4 * self.width:
            x = Downsample(4 * self.width, self.strides, name="downsample")(y)
        y = Conv(self.width, size=1, standardise=True, name="conv1")(y)
        y = relu(GroupNorm(self.groups, name="norm2")(y), mode)
        y = Conv(self.width, strides=self.strides, standardise=True, name="conv2")(y)
        y = relu(GroupNorm(self.groups, name="norm3")(y), mode)
        y = Conv(4 * self.width, size=1, standardise=True, name="conv3")(y)
        return fence(x + y, mode)


class Stage(nn.Module):
    width: int
    blocks: int
    strides: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        for i in range(1, self.blocks + 1):
            x = remat(Block, mode)(self.width, self.strides if i == 1 else 1, self.groups, name=f"block{i}")(x, mode)
        return x


class Final(nn.Module):
    """The norm and the activation that a pre-activation network still lacks behind its last block."""

    groups: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        return nn.relu(GroupNorm(self.groups, name="norm")(x))


class Backbone(nn.Module):
    """(N, H, W, 3) -> "stem", "stage1" (/ 4), "stage2" (/ 8), "stage3" (/ 16), "stage4", "final" (/ 32)."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    groups: int = 32
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("stem", *(f"stage{i + 1}" for i in range(len(self.blocks))), "final", "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        stages = [
            Stage(self.width * 2**i, blocks, 1 if i == 0 else 2, self.groups, name=f"stage{i + 1}")
            for i, blocks in enumerate(self.blocks)
        ]
        layers = [Stem(self.width, name="stem"), *stages, Final(self.groups, name="final")]
        return run(layers, x.astype(self.dtype), mode.inside(self), start)


def names(**_: object) -> list[table.Row]:
    """The authors' .npz and timm's layout."""
    return _original() + _timm()


def _original() -> list[table.Row]:
    """resnet/block1/unit01/a/standardized_conv2d/kernel, ...: kernels are (h, w, in, out) already."""
    unit = r"resnet/block(\d)/unit0*(\d+)/"
    leaf = {"gamma": "scale", "beta": "bias"}

    def norm(match: re.Match[str]) -> str:
        number = "abc".index(match[3]) + 1
        return f"params/backbone/stage{match[1]}/block{match[2]}/norm{number}/{leaf[match[4]]}"

    def conv(match: re.Match[str]) -> str:
        number = "abc".index(match[3]) + 1
        return f"params/backbone/stage{match[1]}/block{match[2]}/conv{number}/kernel"

    return [
        (r"resnet/root_block/standardized_conv2d/kernel", "params/backbone/stem/conv/kernel", table.same),
        (unit + r"([abc])/group_norm/(gamma|beta)", norm, table.vector),
        (unit + r"([abc])/standardized_conv2d/kernel", conv, table.same),
        (
            unit + r"a/proj/standardized_conv2d/kernel",
            r"params/backbone/stage\1/block\2/downsample/conv/kernel",
            table.same,
        ),
        (r"resnet/group_norm/gamma", "params/backbone/final/norm/scale", table.vector),
        (r"resnet/group_norm/beta", "params/backbone/final/norm/bias", table.vector),
        (r"resnet/head/conv2d/kernel", "params/head/kernel", _pointwise),
        (r"resnet/head/conv2d/bias", "params/head/bias", table.vector),
    ]


def _timm() -> list[table.Row]:
    """stem.conv, stages.0.blocks.0.norm1, ..., norm, head.fc."""
    block = r"stages\.(\d)\.blocks\.(\d+)\."

    def layer(match: re.Match[str]) -> str:
        return f"stage{int(match[1]) + 1}/block{int(match[2]) + 1}/{match[3]}"

    return [
        *table.conv(r"stem\.conv", "stem/conv"),
        *table.norm(block + r"(norm\d)", layer),
        *table.conv(block + r"(conv\d)", layer),
        *table.conv(block + r"(downsample)\.conv", lambda match: f"{layer(match)}/conv"),
        *table.norm("norm", "final/norm"),
        *table.classifier(r"head\.fc"),
    ]


def _pointwise(x: np.ndarray) -> np.ndarray:
    """A 1x1 convolution (1, 1, in, out) -> (in, out)."""
    return x.reshape(x.shape[-2:])
