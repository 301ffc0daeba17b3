"""LeCun et al. 1998, Gradient-based learning applied to document recognition, in the form that papers on domain
adaptation use for digits: 20 and 50 filters of 5 x 5, max pooling, 500 hidden units (Long et al. 2018, CDAN).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tl import errors
from tl.models import names as table
from tl.models.layers import Conv, Dense, Maps, Mode, relu, run
from tl.models.ops import max_pool, wide
from tl.preprocess import Preprocess

VARIANTS = {"lenet": {}}
PREPROCESS = {"lenet": Preprocess(size=28, resize=28, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))}


class Stage(nn.Module):
    """Convolution without padding, dropout of whole channels, pooling to half the size, ReLU."""

    width: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        x = Conv(self.width, size=5, padding=0, bias=True, name="conv")(x)
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not mode.train)(x)
        return relu(max_pool(x, window=2, strides=2), mode)


class Hidden(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        if 0 in x.shape:
            raise errors.InputError("the images are too small for lenet: set config.image_size to 28, or 16 at least.")
        return nn.relu(Dense(self.width, name="dense")(x.reshape(x.shape[0], -1)))


class Backbone(nn.Module):
    """(N, H, W, 3) -> maps "stage1", "stage2", "fc" (N, hidden); with `grey` the channels' mean is what it sees."""

    widths: tuple[int, ...] = (20, 50)
    hidden: int = 500
    dropout: float = 0.5
    grey: bool = True
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return (*(f"stage{i}" for i in range(1, len(self.widths) + 1)), "fc", "pooled")

    @property
    def stable_maps(self) -> tuple[str, ...]:
        """The maps before the first dropout."""
        return self.feature_maps[: len(self.widths) - 1]

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        mode = mode.inside(self)
        last = len(self.widths)
        layers: list[nn.Module] = [
            Stage(width, self.dropout if i == last else 0.0, name=f"stage{i}")
            for i, width in enumerate(self.widths, start=1)
        ]
        layers.append(Hidden(self.hidden, name="fc"))
        drop = nn.Dropout(self.dropout, deterministic=not mode.train)
        if self.grey and not start:
            x = jnp.mean(x, axis=-1, keepdims=True)
        return run(layers, x.astype(self.dtype), mode, start, lambda x: drop(x).astype(wide(x.dtype)))


def names(**_: object) -> list[table.Row]:
    """The layout of torch's form: conv_params.0 and .3, fc_params.0, head."""
    dense = "params/backbone/fc/dense"
    return [
        *table.conv(r"conv_params\.0", "stage1/conv", bias=True),
        *table.conv(r"conv_params\.3", "stage2/conv", bias=True),
        (r"fc_params\.0\.weight", f"{dense}/kernel", _channels_last),
        (r"fc_params\.0\.bias", f"{dense}/bias", table.same),
        *table.classifier("head"),
    ]


def _channels_last(x: np.ndarray, channels: int = Backbone.widths[-1]) -> np.ndarray:
    """(out, C * H * W), channels first -> (H * W * C, out)."""
    return x.reshape(len(x), channels, -1).transpose(2, 1, 0).reshape(-1, len(x))
