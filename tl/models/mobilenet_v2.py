"""Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv:1801.04381).

As torchvision builds it, and `mobilenet_v2_tf` as TensorFlow trained it: "SAME" padding (at stride 2 the odd
pixel goes behind), inputs in -1..1 and 1001 classes of which the first is the background.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from tl.models import names as table
from tl.models.layers import BatchNorm, Conv, Maps, Mode, fence, remat, run
from tl.models.ops import Padding
from tl.preprocess import Preprocess

VARIANTS = {"mobilenet_v2": {}, "mobilenet_v2_tf": {"padding": "SAME"}}
PREPROCESS = {
    "mobilenet_v2": Preprocess(),
    "mobilenet_v2_tf": Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
}
# Table 2 of the paper: channels and stride of the first block of each stage. Stage 1 does not expand.
STAGES = ((16, 1), (24, 2), (32, 2), (64, 2), (96, 1), (160, 2), (320, 1))
BLOCKS = (1, 2, 3, 4, 3, 3, 1)


def scaled(channels: int, width: float) -> int:
    """`channels * width` to a multiple of 8, and not more than 10 % below it."""
    value = max(8, int(channels * width + 4) // 8 * 8)
    return value + 8 if value < 0.9 * channels * width else value


class ConvNorm(nn.Module):
    """Convolution, batch norm and, unless linear, ReLU6."""

    features: int
    size: int = 1
    strides: int = 1
    padding: Padding | None = None
    groups: int = 1
    linear: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        x = Conv(self.features, self.size, self.strides, self.padding, self.groups, name="conv")(x)
        x = BatchNorm(name="bn")(x, mode)
        return x if self.linear else fence(nn.relu6(x), mode)


class Block(nn.Module):
    """Inverted residual: expand by 1x1, filter each channel by 3x3, project by 1x1 without an activation."""

    features: int
    strides: int
    expansion: int
    padding: Padding | None

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        hidden = self.expansion * x.shape[-1]
        y = ConvNorm(hidden, name="expand")(x, mode) if self.expansion > 1 else x
        y = ConvNorm(hidden, 3, self.strides, self.padding, groups=hidden, name="depthwise")(y, mode)
        y = ConvNorm(self.features, linear=True, name="project")(y, mode)
        return fence(x + y if x.shape == y.shape else y, mode)


class Stage(nn.Module):
    features: int
    blocks: int
    strides: int
    expansion: int
    padding: Padding | None

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        for i in range(1, self.blocks + 1):
            strides = self.strides if i == 1 else 1
            x = remat(Block, mode)(self.features, strides, self.expansion, self.padding, name=f"block{i}")(x, mode)
        return x


class Backbone(nn.Module):
    """(N, H, W, 3) -> maps "stem", "stage1" (/ 2), "stage2" (/ 4), "stage3" (/ 8), "stage4", "stage5" (/ 16),
    "stage6", "stage7" (/ 32), "last" (/ 32, 1280 channels)."""

    width: float = 1.0
    padding: Padding | None = None
    blocks: tuple[int, ...] = BLOCKS
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("stem", *(f"stage{i + 1}" for i in range(len(self.blocks))), "last", "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        stem = ConvNorm(scaled(32, self.width), 3, 2, self.padding, name="stem")
        stages = []
        for i, (blocks, (channels, strides)) in enumerate(zip(self.blocks, STAGES, strict=False)):
            features, expansion = scaled(channels, self.width), 1 if i == 0 else 6
            stages.append(Stage(features, blocks, strides, expansion, self.padding, name=f"stage{i + 1}"))
        last = ConvNorm(scaled(1280, max(1.0, self.width)), name="last")
        return run([stem, *stages, last], x.astype(self.dtype), mode.inside(self), start)


def names(blocks: tuple[int, ...] = BLOCKS, **_: object) -> list[table.Row]:
    """torchvision's layout: features.N.conv.0.0, ..., classifier.1; N counts blocks."""

    def layer(source: str, target: str) -> list[table.Row]:
        conv = table.conv(rf"{source}\.0", f"{target}/conv")
        return conv + table.batch_norm(rf"{source}\.1", f"{target}/bn")

    rows = layer(r"features\.0", "stem")
    places = [(stage, i + 1) for stage, count in enumerate(blocks, start=1) for i in range(count)]
    for n, (stage, block) in enumerate(places, start=1):
        source, target = rf"features\.{n}\.conv", f"stage{stage}/block{block}"
        parts = ["depthwise"] if stage == 1 else ["expand", "depthwise"]
        for i, part in enumerate(parts):
            rows += layer(rf"{source}\.{i}", f"{target}/{part}")
        rows += table.conv(rf"{source}\.{len(parts)}", f"{target}/project/conv")
        rows += table.batch_norm(rf"{source}\.{len(parts) + 1}", f"{target}/project/bn")
    return rows + layer(rf"features\.{len(places) + 1}", "last") + table.classifier(r"classifier\.1")
