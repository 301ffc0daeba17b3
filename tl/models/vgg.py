"""Simonyan & Zisserman 2015, Very Deep Convolutional Networks (arXiv:1409.1556): VGG-16 and VGG-16-BN.

`top` keeps the two large dense layers; their output is then the pooled feature, the fc7 of the older papers.
"""

from __future__ import annotations

from collections.abc import Iterator

import flax.linen as nn
import jax
import numpy as np

from tl.models import names as table
from tl.models.layers import BatchNorm, Conv, Dense, Maps, Mode, relu, remat, run
from tl.models.ops import adaptive_pool, global_pool, max_pool, wide
from tl.preprocess import Preprocess

VARIANTS = {"vgg16": {}, "vgg16_bn": {"norm": True}}
PREPROCESS = dict.fromkeys(VARIANTS, Preprocess())
GRID = 7  # the first dense layer reads a 7 x 7 map


class Stage(nn.Module):
    width: int
    convs: int
    norm: bool

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        for i in range(1, self.convs + 1):
            x = Conv(self.width, bias=True, name=f"conv{i}")(x)
            x = relu(BatchNorm(name=f"bn{i}")(x, mode) if self.norm else x, mode)
        return max_pool(x, window=2, strides=2)


class Hidden(nn.Module):
    """One dense layer of the top. Dropout acts on what comes in: a map kept for reuse is free of it."""

    width: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        if x.ndim == 4:
            x = adaptive_pool(x, GRID).reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout, deterministic=not mode.train)(x)
        return nn.relu(Dense(self.width, name="dense")(x))


class Backbone(nn.Module):
    """(N, H, W, 3) -> maps "stage1" (/ 2) to "stage5" (/ 32); with `top` also "fc1", "fc2" (N, hidden)."""

    convs: tuple[int, ...] = (2, 2, 3, 3, 3)
    width: int = 64
    norm: bool = False
    top: bool = True
    hidden: int = 4096
    dropout: float = 0.5
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        stages = [f"stage{i + 1}" for i in range(len(self.convs))]
        return (*stages, *(("fc1", "fc2") if self.top else ()), "pooled")

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        mode = mode.inside(self)
        layers: list[nn.Module] = [
            remat(Stage, mode)(self.width * min(2**i, 8), convs, self.norm, name=f"stage{i + 1}")
            for i, convs in enumerate(self.convs)
        ]
        if self.top:
            layers += [Hidden(self.hidden, name="fc1"), Hidden(self.hidden, self.dropout, name="fc2")]
        drop = nn.Dropout(self.dropout, deterministic=not mode.train)

        def pool(x: jax.Array) -> jax.Array:
            return drop(x).astype(wide(x.dtype)) if x.ndim == 2 else global_pool(x)

        return run(layers, x.astype(self.dtype), mode, start, pool)


def names(
    convs: tuple[int, ...] = Backbone.convs, norm: bool = False, top: bool = True, **_: object
) -> list[table.Row]:
    """torchvision's layout: features.N, classifier.0, .3, .6; and timm's: pre_logits.fc1, .fc2, head.fc."""
    rows: list[table.Row] = []
    for index, stage, layer in _positions(convs, norm):
        rows += table.conv(rf"features\.{index}", f"stage{stage}/conv{layer}", bias=True)
        if norm:
            rows += table.batch_norm(rf"features\.{index + 1}", f"stage{stage}/bn{layer}")
    dense = (
        (r"classifier\.0|pre_logits\.fc1", "fc1", _first),
        (r"classifier\.3|pre_logits\.fc2", "fc2", table.transposed),
    )
    for pattern, layer, transform in dense:
        at = f"params/backbone/{layer}/dense"
        rows.append((rf"(?:{pattern})\.weight", f"{at}/kernel" if top else None, transform))
        rows.append((rf"(?:{pattern})\.bias", f"{at}/bias" if top else None, table.same))
    if top:
        return rows + table.classifier(r"(?:classifier\.6|head\.fc)")
    # The published classifier reads fc2: without the top there is no place for it.
    return [*rows, (r"(?:classifier\.6|head\.fc)\.(?:weight|bias)", None, table.same)]


def _positions(convs: tuple[int, ...], norm: bool) -> Iterator[tuple[int, int, int]]:
    """(index in torch's `features`, stage, layer): the index also counts norms, ReLUs and poolings."""
    index = 0
    for stage, count in enumerate(convs, start=1):
        for layer in range(1, count + 1):
            yield index, stage, layer
            index += 3 if norm else 2
        index += 1


def _first(x: np.ndarray) -> np.ndarray:
    """(out, C * 7 * 7) or (out, C, 7, 7), channels first -> (7 * 7 * C, out), channels last."""
    x = x.reshape(x.shape[0], -1, GRID, GRID)
    return x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])
