"""The layer, or the few layers, that turn feature maps into a task's outputs."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from tl import errors
from tl.models.layers import BatchNorm, Conv, Dense, Maps, Mode, dense_init
from tl.models.ops import dot, max_pool, per_channel, wide


class Head(nn.Module):
    """Feature maps -> (N, outputs) logits in float32 (float64 when `dtype` is float64).

    `pool="gap"` reads the backbone's pooled features, "flatten" its last spatial map as one long vector (the
    image size is then fixed). `maps` names others: their means over space stand side by side, each divided by
    its length (a side head on what lower layers know, Evci et al. 2022, Head2Toe). `tokens` names a map (N, L, D), of
    which every row gets outputs of its own, (N, L, outputs). `hidden` layers are fc1, fc2, ... with ReLU and dropout
    behind each; without them, dropout acts on the features. `kernel` (D, outputs) and `bias` of the last layer lie
    directly in the head, where converted classifiers go.
    """

    outputs: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    pool: str = "gap"
    maps: tuple[str, ...] = ()
    tokens: str = ""
    dtype: str = ""  # of the hidden layers; "": that of the maps

    @nn.compact
    def __call__(self, maps: Maps, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        if self.pool not in ("gap", "flatten"):
            raise errors.unknown("head pooling", self.pool, ("gap", "flatten"))
        if self.tokens:
            if self.tokens not in maps:
                raise errors.unknown("map of tokens", self.tokens, maps)
            x = maps[self.tokens]
        elif self.maps:
            x = self.side_by_side(maps)
        elif self.pool == "gap":
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
            x = drop(nn.relu(Dense(width, name=f"fc{i}")(x.astype(self.dtype or x.dtype))))
        # The last product is cheap: always in full precision, so that the loss never sees rounded logits.
        x = x.astype(wide(self.dtype or x.dtype))
        kernel = self.param("kernel", dense_init, (x.shape[-1], self.outputs), x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.outputs,), x.dtype)
        return dot(x, kernel) + per_channel(bias, x)

    def side_by_side(self, maps: Maps) -> jax.Array:
        """(N, sum of channels) of the maps that are asked for; InputError where one is not there."""
        if self.pool != "gap":
            raise errors.InputError(f"head.maps reads means of maps, not head.pool='{self.pool}': set one of the two.")
        for name in self.maps:
            if name not in maps:
                raise errors.unknown("map in head.maps", name, maps)
        rows = [maps[name].mean(axis=tuple(range(1, maps[name].ndim - 1))) for name in self.maps]
        lengths = [jnp.sqrt(jnp.sum(jnp.square(row), axis=1, keepdims=True) + 1e-12) for row in rows]
        return jnp.concatenate([row / length for row, length in zip(rows, lengths, strict=True)], axis=1)


class Scalars(nn.Module):
    """(count,) learnt numbers that begin at 0."""

    count: int

    @nn.compact
    def __call__(self, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        return self.param("values", nn.initializers.zeros, (self.count,))


class Reduction(nn.Module):
    """(N, D) features -> (N, width) linear ones: minus `mean`, times `kernel`. Both are set from outside, or 0."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        mean = self.param("mean", nn.initializers.zeros, (x.shape[-1],), x.dtype)
        kernel = self.param("kernel", nn.initializers.zeros, (x.shape[-1], self.width), x.dtype)
        return dot(x - per_channel(mean, x), kernel)


class Regressor(nn.Module):
    """(N, H, W, C) -> (N, H, W, width): a convolution of one pixel."""

    @nn.compact
    def __call__(self, x: jax.Array, width: int, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        return Conv(width, size=1, bias=True, name="conv")(x)


class Whole(nn.Module):
    """Backbone, what is between if there is any, and head as one part: images -> the backbone's maps and `outputs`."""

    backbone: nn.Module
    head: nn.Module
    reduce: nn.Module | None = None
    bottleneck: nn.Module | None = None

    @property
    def dtype(self) -> str:
        return getattr(self.backbone, "dtype")  # noqa: B009 (every backbone has one, nn.Module has none)

    @property
    def reads(self) -> str:
        """The field of a batch that the backbone reads."""
        return getattr(self.backbone, "reads", "image")

    def __call__(self, x: jax.Array, mode: Mode = Mode()) -> dict[str, jax.Array]:  # noqa: B008 (frozen)
        maps = read = self.backbone(x, mode=mode)
        for between in (self.reduce, self.bottleneck):
            if between is not None:
                read = {**read, "pooled": between(read["pooled"], mode=mode)}
        return {**maps, "outputs": self.head(read, mode=mode)}


class Bottleneck(nn.Module):
    """(N, D) pooled features -> (N, width), the features that domains are compared in: dense, ReLU, dropout.

    With `norm` there is batch norm before the ReLU. The output is float32 at least.
    """

    width: int
    norm: bool = True
    dropout: float = 0.0
    dtype: str = ""  # of the computation; "": that of the features

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        x = Dense(self.width, bias=not self.norm, name="fc")(x.astype(self.dtype or x.dtype))
        if self.norm:
            x = BatchNorm(name="bn")(x, mode)
        return nn.Dropout(self.dropout, deterministic=not mode.train)(nn.relu(x)).astype(wide(self.dtype or x.dtype))


class Relation(nn.Module):
    """(N, H, W, C) pairs of maps -> (N,) how alike they are, in 0..1 (Sung et al. 2018, figure 2)."""

    width: int = 64
    hidden: int = 8

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        for i in (1, 2):
            x = nn.relu(BatchNorm(name=f"bn{i}")(Conv(self.width, name=f"conv{i}")(x), mode))
            if min(x.shape[1:3]) > 1:
                x = max_pool(x, window=2, strides=2)
        x = nn.relu(Dense(self.hidden, name="fc1")(x.reshape(x.shape[0], -1)))
        return nn.sigmoid(Dense(1, name="fc2")(x).astype(wide(x.dtype)))[:, 0]


class Discriminator(nn.Module):
    """(N, D) features -> (N, domains) logits, over dense layers fc1, fc2, ... with batch norm if asked, and ReLU."""

    domains: int
    hidden: tuple[int, ...] = (1024, 1024)
    norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        return Dense(self.domains, name="out")(_hidden(x, self.hidden, self.norm, mode))


class Projector(nn.Module):
    """(N, D) features -> (N, width), in which views of images are compared: dense layers fc1, ... with ReLU, and `out`.

    With `norm` there is batch norm before each ReLU. `out` has no bias, which a comparison of directions or of
    deviations from a mean would hardly see.
    """

    width: int
    hidden: tuple[int, ...]
    norm: bool

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        return Dense(self.width, bias=False, name="out")(_hidden(x, self.hidden, self.norm, mode))


def _hidden(x: jax.Array, widths: tuple[int, ...], norm: bool, mode: Mode) -> jax.Array:
    """Dense layers fc1, fc2, ... of the module that calls this, with batch norm if asked, and ReLU."""
    for i, width in enumerate(widths, start=1):
        x = Dense(width, bias=not norm, name=f"fc{i}")(x)
        x = nn.relu(BatchNorm(name=f"bn{i}")(x, mode) if norm else x)
    return x
