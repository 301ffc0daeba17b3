"""He et al. 2016, Deep Residual Learning (arXiv:1512.03385): ResNet-18 to ResNet-152 for ImageNet.

As torchvision builds them: "v1.5", with the stride of a bottleneck on its 3x3 convolution, and symmetric
padding. timm's `tv_in1k` and `a1_in1k` files use the same names.
"""

from __future__ import annotations

import re

import flax.linen as nn
import jax

from tl.models import names as table
from tl.models.layers import BatchNorm, Conv, Maps, Mode, conv_norm, relu, remat, run
from tl.models.ops import max_pool
from tl.preprocess import Preprocess

VARIANTS = {
    "resnet18": {"blocks": (2, 2, 2, 2), "bottleneck": False},
    "resnet34": {"blocks": (3, 4, 6, 3), "bottleneck": False},
    "resnet50": {"blocks": (3, 4, 6, 3)},
    "resnet101": {"blocks": (3, 4, 23, 3)},
    "resnet152": {"blocks": (3, 8, 36, 3)},
}
PREPROCESS = dict.fromkeys(VARIANTS, Preprocess())


class Stem(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        x = Conv(self.width, size=7, strides=2, name="conv")(x)
        x = relu(BatchNorm(name="bn")(x, mode), mode)
        return max_pool(x, window=3, strides=2, padding=1)


class Downsample(nn.Module):
    features: int
    strides: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        return conv_norm(Conv(self.features, size=1, strides=self.strides, name="conv"), BatchNorm(name="bn"), x, mode)


class Block(nn.Module):
    """Two 3x3 convolutions; or, as a bottleneck, 1x1, 3x3 and 1x1 to four times the width."""

    width: int
    strides: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        # (features, size, strides) of each convolution
        if self.bottleneck:
            shapes = [(self.width, 1, 1), (self.width, 3, self.strides), (4 * self.width, 1, 1)]
        else:
            shapes = [(self.width, 3, self.strides), (self.width, 3, 1)]
        y = x
        for i, (features, size, strides) in enumerate(shapes, start=1):
            y = conv_norm(Conv(features, size, strides, name=f"conv{i}"), BatchNorm(name=f"bn{i}"), y, mode)
            y = relu(y, mode) if i < len(shapes) else y
        if y.shape != x.shape:
            x = Downsample(y.shape[-1], self.strides, name="downsample")(x, mode)
        return relu(x + y, mode)


class Stage(nn.Module):
    width: int
    blocks: int
    strides: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        for i in range(1, self.blocks + 1):
            strides = self.strides if i == 1 else 1
            x = remat(Block, mode)(self.width, strides, self.bottleneck, name=f"block{i}")(x, mode)
        return x


class Backbone(nn.Module):
    """(N, H, W, 3) -> maps "stem" and "stage1" (/ 4), "stage2" (/ 8), "stage3" (/ 16), "stage4" (/ 32)."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    width: int = 64
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("stem", *(f"stage{i + 1}" for i in range(len(self.blocks))), "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        stages = [
            Stage(self.width * 2**i, blocks, 1 if i == 0 else 2, self.bottleneck, name=f"stage{i + 1}")
            for i, blocks in enumerate(self.blocks)
        ]
        stem = Stem(self.width, name="stem")
        return run([stem, *stages], x.astype(self.dtype), mode.inside(self), start)


def names(**_: object) -> list[table.Row]:
    """torchvision's layout: conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, ..., fc."""

    def block(match: re.Match[str]) -> str:
        return f"stage{match[1]}/block{int(match[2]) + 1}"

    def layer(match: re.Match[str]) -> str:
        return f"{block(match)}/{match[3]}"

    return [
        *table.conv("conv1", "stem/conv"),
        *table.batch_norm("bn1", "stem/bn"),
        *table.conv(r"layer(\d+)\.(\d+)\.(conv\d)", layer),
        *table.batch_norm(r"layer(\d+)\.(\d+)\.(bn\d)", layer),
        *table.conv(r"layer(\d+)\.(\d+)\.downsample\.0", lambda match: f"{block(match)}/downsample/conv"),
        *table.batch_norm(r"layer(\d+)\.(\d+)\.downsample\.1", lambda match: f"{block(match)}/downsample/bn"),
        *table.classifier("fc"),
    ]
