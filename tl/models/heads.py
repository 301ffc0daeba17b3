"""The layer, or the few layers, that turn feature maps into a task's outputs."""

from __future__ import annotations

import flax.linen as nn
import jax

from tl import errors
from tl.models.layers import Dense, Maps, Mode, dense_init
from tl.models.ops import dot, per_channel, wide


class Head(nn.Module):
    """Feature maps -> (N, outputs) logits in float32 (float64 when `dtype` is float64).

    `pool="gap"` reads the backbone's pooled features, "flatten" its last spatial map as one long vector (the
    image size is then fixed). `hidden` layers are fc1, fc2, ... with ReLU and dropout behind each; without
    them, dropout acts on the features. `kernel` (D, outputs) and `bias` of the last layer lie directly in the
    head, where converted classifiers go.
    """

    outputs: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    pool: str = "gap"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, maps: Maps, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        if self.pool not in ("gap", "flatten"):
            raise errors.unknown("head pooling", self.pool, ("gap", "flatten"))
        if self.pool == "gap":
            x = maps["pooled"]
        else:
            spatial = [value for value in maps.values() if value.ndim == 4]
            if not spatial:
                raise errors.InputError(
                    "a head with pool='flatten' needs a spatial map, but only pooled features are there"
                )
            x = spatial[-1].reshape(spatial[-1].shape[0], -1)
        drop = nn.Dropout(self.dropout, deterministic=not mode.train)
        if not self.hidden:
            x = drop(x)
        for i, width in enumerate(self.hidden, start=1):
            x = drop(nn.relu(Dense(width, name=f"fc{i}")(x.astype(self.dtype))))
        # The last product is cheap: always in full precision, so that the loss never sees rounded logits.
        x = x.astype(wide(self.dtype))
        kernel = self.param("kernel", dense_init, (x.shape[-1], self.outputs), x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.outputs,), x.dtype)
        return dot(x, kernel) + per_channel(bias, x)
