"""The layers that every family is made of, and how one call of a network runs."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from tl import errors
from tl.models import ops
from tl.models.ops import Padding, global_pool, per_channel, wide

# Not a plain dict: jit would hand that back sorted by name, and "the last map" must mean the same outside.
Maps = OrderedDict[str, jax.Array]

# He initialisation over fan-out, as torchvision's convolutions; torch.nn.Linear's own for dense layers.
conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
dense_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def never(path: str) -> bool:
    return False


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["ones"],
    meta_fields=["train", "own_stats", "norm_groups", "streams", "running_share", "remat", "change", "depth"],
)
@dataclasses.dataclass(frozen=True)
class Mode:
    """How one call of a network runs.

    `train` switches dropout on. `own_stats(path)` says whether the BatchNorm at `path` ('stage1/block1/bn1',
    relative to the backbone) normalises with the statistics of its batch; it then also updates its running
    ones, if the collection "batch_stats" is mutable. All others use the running statistics.
    """

    train: bool = False
    own_stats: Callable[[str], bool] = never
    norm_groups: int = 0  # batch norm over each of so many equal parts of the batch; 0: over all of it
    streams: int = 1  # whose rows come in turn (`batches.join`), batch norm being over those of each by themselves
    running_share: float = 0.0  # of channels that such a BatchNorm normalises with the running statistics, at random
    remat: bool = False  # set by `inside`: blocks run again in the backward pass
    change: Callable[[str, jax.Array], jax.Array] | None = None  # (name, map) -> what goes on in its place
    depth: int = 0  # set by `inside`: the number of names in a module's path above the backbone
    ones: jax.Array | None = None  # set by `inside`: see `ops.fence`

    def inside(self, backbone: Any) -> Mode:
        """The mode that a backbone hands to its layers."""
        leaves = jax.tree.leaves(backbone.variables.get("params", {}))
        ones = ops.hidden_ones(leaves[0]) if leaves else None
        return dataclasses.replace(self, remat=backbone.remat, depth=len(backbone.path), ones=ones)


def remat(kind: type[nn.Module], mode: Mode) -> Any:
    """The class of a network's repeated block, whose inside is not kept for the backward pass where `mode` says so."""
    return nn.remat(kind) if mode.remat else kind


def fence(x: jax.Array, mode: Mode) -> jax.Array:
    """The end of a residual block: `x` itself, kept from being computed again by later blocks on a CPU."""
    return x if mode.ones is None else ops.fence(x, mode.ones)


def relu(x: jax.Array, mode: Mode) -> jax.Array:
    """max(x, 0), on a CPU as a buffer of its own: see `ops.fence`."""
    return fence(nn.relu(x), mode)


class Conv(nn.Module):
    """Convolution with `kernel` (size, size, C / groups, features) and, if asked, `bias` (features,)."""

    features: int
    size: int = 3
    strides: int = 1
    padding: Padding | None = None  # None: size // 2, which keeps the size of the map at stride 1
    groups: int = 1
    bias: bool = False
    standardise: bool = False  # kernels of mean 0 and variance 1 per output channel (arXiv:1903.10520)

    @nn.compact
    def __call__(self, x: jax.Array, product: Callable[..., jax.Array] = ops.conv) -> jax.Array:
        """`product(x, kernel, strides, padding, groups)` may be more than the convolution: see `conv_norm`."""
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", conv_init, shape, wide(x.dtype))
        if self.standardise:
            kernel -= jnp.mean(kernel, (0, 1, 2), keepdims=True)
            kernel *= lax.rsqrt(jnp.mean(jnp.square(kernel), (0, 1, 2), keepdims=True) + 1e-10)
        padding = self.size // 2 if self.padding is None else self.padding
        y = product(x, kernel, self.strides, padding, self.groups)
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), wide(x.dtype))
            y += per_channel(bias, y).astype(y.dtype)
        return y


class Dense(nn.Module):
    """(..., C) -> (..., features) with `kernel` (C, features) and, unless told otherwise, `bias` (features,)."""

    features: int
    bias: bool = True
    init: Any = dense_init

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.init, (x.shape[-1], self.features), wide(x.dtype))
        y = ops.dot(x, kernel.astype(x.dtype))
        if not self.bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), wide(x.dtype))
        return y + per_channel(bias, y).astype(y.dtype)


class BatchNorm(nn.Module):
    """Batch norm as in torch: running statistics move by 0.1, the running variance is the unbiased estimate.

    Parameters `scale`, `bias`; statistics `mean`, `var` in "batch_stats"; all (C,) and float32 at least.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9  # the share of the old value: 1 - torch's momentum

    def owns(self, mode: Mode) -> bool:
        """Whether this layer normalises with the statistics of its batch."""
        return mode.own_stats("/".join(self.path[mode.depth :]))

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode, kernel: jax.Array | None = None) -> jax.Array:
        """The normalised `x`; with `kernel` (C', C), and where the layer `owns`, the normalised x @ kernel."""
        shape, dtype = (x.shape[-1] if kernel is None else kernel.shape[-1],), wide(x.dtype)
        scale = self.param("scale", nn.initializers.ones, shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        before = mean.value, var.value

        def by_running() -> jax.Array:
            factor = scale * lax.rsqrt(before[1] + self.epsilon)
            shift = bias - before[0] * factor
            return (x.astype(dtype) * per_channel(factor, x) + per_channel(shift, x)).astype(x.dtype)

        if not self.owns(mode):
            return by_running()
        epsilon, near = jnp.asarray(self.epsilon, dtype), mean.value

        def norm(rows: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            if kernel is None:
                return ops.batch_norm(rows, scale, bias, epsilon, near)
            return ops.pointwise_norm(rows, kernel, scale, bias, epsilon)

        if mode.streams > 1:
            y, batch_mean, batch_var = in_turn(norm, x, mode.streams)
        else:
            y, batch_mean, batch_var = in_groups(norm, x, mode.norm_groups) if mode.norm_groups > 1 else norm(x)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            count = math.prod(x.shape[:-1]) // max(mode.norm_groups, mode.streams)
            unbiased = batch_var * (count / max(count - 1, 1))
            old, new = self.momentum, 1 - self.momentum
            mean.value = old * mean.value + new * lax.stop_gradient(batch_mean)
            var.value = old * var.value + new * lax.stop_gradient(unbiased)
        if not mode.running_share:
            return y
        drawn = jax.random.bernoulli(self.make_rng("dropout"), mode.running_share, shape)
        return jnp.where(per_channel(drawn, y), by_running(), y)


def in_groups(norm: Callable[[jax.Array], tuple], x: jax.Array, groups: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`norm` of each of `groups` runs of rows by itself -> (y, mean of the means, mean of the variances)."""
    if x.shape[0] % groups:
        raise errors.InputError(
            f"config.norm_groups={groups} does not divide a batch of {x.shape[0]} rows: take a divisor of it."
        )
    y, means, variances = jax.vmap(norm)(x.reshape(groups, -1, *x.shape[1:]))
    return y.reshape(*x.shape[:-1], -1), jnp.mean(means, 0), jnp.mean(variances, 0)


def in_turn(norm: Callable[[jax.Array], tuple], x: jax.Array, streams: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`norm` of the rows of each of `streams`, which come in turn, by itself -> (y, mean and variance of the last)."""
    apart = x.reshape(-1, streams, *x.shape[1:])
    y, means, variances = jax.vmap(norm, in_axes=1, out_axes=(1, 0, 0))(apart)
    return y.reshape(x.shape[0], *y.shape[2:]), means[-1], variances[-1]


def conv_norm(conv: Conv, norm: BatchNorm, x: jax.Array, mode: Mode) -> jax.Array:
    """`norm(conv(x), mode)`; where that costs less memory, without the map between the two (`ops.pointwise_norm`)."""
    pointwise = (conv.size, conv.groups, conv.bias, conv.standardise) == (1, 1, False, False)
    if ops.for_cpu() or not pointwise or mode.running_share or conv.features < 4 * x.shape[-1] or not norm.owns(mode):
        return norm(conv(x), mode)

    def product(x: jax.Array, kernel: jax.Array, strides: int, *_: Any) -> jax.Array:
        return norm(x[:, ::strides, ::strides], mode, kernel[0, 0])

    return conv(x, product)


class GroupNorm(nn.Module):
    """Normalise each image over space and C / groups channels; `scale` and `bias` (C,)."""

    groups: int = 32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, channels = x.shape[0], x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), wide(x.dtype))
        bias = self.param("bias", nn.initializers.zeros, (channels,), wide(x.dtype))

        def group_mean(values: jax.Array) -> jax.Array:
            """(N, H, W, C) -> (N, 1, 1, C); space first, so that the large map is never reshaped."""
            by_channel = jnp.mean(values, (1, 2)).reshape(n, self.groups, -1)
            by_group = jnp.mean(by_channel, -1, keepdims=True)
            return jnp.broadcast_to(by_group, by_channel.shape).reshape(n, 1, 1, channels)

        values = x.astype(wide(x.dtype))
        values -= group_mean(values)
        factor = lax.rsqrt(group_mean(jnp.square(values)) + self.epsilon) * per_channel(scale, x)
        return (values * factor + per_channel(bias, x)).astype(x.dtype)


def run(
    layers: Sequence[Any],
    x: jax.Array,
    mode: Mode,
    start: str,
    pool: Callable[[jax.Array], jax.Array] = global_pool,
) -> Maps:
    """Every layer's map by the layer's name, in order, and last "pooled".

    With `start`, `x` is the map of that name and only what lies behind it runs.
    """
    names = [*(layer.name for layer in layers), "pooled"]
    if start and start not in names:
        raise errors.unknown("feature map", start, names)
    maps: Maps = OrderedDict({start: x} if start else {})
    for layer in layers[names.index(start) + 1 if start else 0 :]:
        x = layer(x, mode)
        x = maps[layer.name] = mode.change(layer.name, x) if mode.change else x
    if start != "pooled":
        maps["pooled"] = pool(x)
    return maps
