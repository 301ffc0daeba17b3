"""Array functions under the layers, and the one place that knows what is slow on a CPU.

XLA:CPU runs some ordinary things badly: 1x1 convolutions (their weight gradient is 2 to 9 times slower than the matrix
product that it is), the weight gradients of the others (2 to 4 times), depthwise convolutions (40 times slower than
shifted multiply-adds), the gradient of max pooling (6 times) and chains of cheap operations, which are copied into each
of their users and computed again there. `conv`, `max_pool` and `fence` write them differently on a CPU, helped by
winograd.py and gradients.py. The numbers are the same, tests compare both, and models never ask where they run.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from tl.models import gradients, winograd

MOST_TILED = 2**22  # elements: the tiles of a larger map leave the cache
TARGET: contextvars.ContextVar[str] = contextvars.ContextVar("target", default="")


def for_cpu() -> bool:
    """Whether what is traced now will run on a CPU: on the default backend, or on TARGET where that is set.

    Set TARGET ("tpu") to compile for a machine that is not at hand.
    """
    return (TARGET.get() or jax.default_backend()) == "cpu"


Padding = int | str  # pixels on every side (torch), or "SAME" (TensorFlow: the odd pixel goes behind)


def wide(dtype: Any) -> Any:
    """The dtype of parameters, statistics and logits beside a compute `dtype`: float64, else float32."""
    return jnp.promote_types(dtype, jnp.float32)


def per_channel(vector: jax.Array, like: jax.Array) -> jax.Array:
    """(C,) -> (1, ..., 1, C) with the rank of `like`: broadcasting across ranks is an error here."""
    return vector.reshape((1,) * (like.ndim - 1) + (-1,))


# --- residual chains ---------------------------------------------------------------------------------------


def hidden_ones(parameter: jax.Array) -> jax.Array | None:
    """(2,) ones that XLA cannot know to be ones, for `fence`; None where no fence is needed."""
    if not for_cpu():
        return None
    flat = lax.stop_gradient(parameter.reshape(-1))
    values = jnp.stack([flat[0], flat[-1]])
    # 0 * value alone is NaN for an infinite value, which the fence would spread over the whole map.
    return jnp.where(jnp.isfinite(values), values * 0, jnp.zeros_like(values)) + 1


@jax.custom_jvp
def fence(x: jax.Array, ones: jax.Array) -> jax.Array:
    """`x`, bit for bit, as a buffer of its own: put at the end of a residual block (`ones`: `hidden_ones`).

    XLA:CPU copies chains of cheap operations into each of their users, so that a weight gradient recomputes
    several earlier blocks (2.2 times the step time of a 56-layer net; `optimization_barrier` does not help).
    It does not copy a division, and x / 1.0 is exact. Identity for gradients.
    """
    # The divisor differs by element, as far as XLA can tell: a division by one scalar would become a product with
    # its reciprocal, one by exp(a) a product with exp(-a), and products are copied.
    above, below = (ones[i].astype(x.dtype).reshape((1,) * x.ndim) for i in range(2))
    return x / jnp.where(x > 0, above, below)


@fence.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    return fence(*primals), tangents[0]


# --- products ----------------------------------------------------------------------------------------------


def conv(x: jax.Array, kernel: jax.Array, strides: int = 1, padding: Padding = 0, groups: int = 1) -> jax.Array:
    """(N, H, W, C) with (h, w, C / groups, D) -> (N, H', W', D) in the dtype of `x`; all convolutions."""
    kernel = kernel.astype(x.dtype)
    window = kernel.shape[:2]
    if isinstance(padding, str):
        pads = lax.padtype_to_pads(x.shape[1:3], window, (strides, strides), padding)
    else:
        pads = [(padding, padding)] * 2
    if for_cpu():
        return cpu_conv(x, kernel, strides, tuple(map(tuple, pads)), groups)
    return plain_conv(x, kernel, strides, pads, groups)


# Jitted, so that layers of one shape, and their derivatives, are traced once: a deep network's tracing, which no cache
# of compiled programs spares, took longer than all else of a second start.
@partial(jax.jit, static_argnums=(2, 3, 4))
def cpu_conv(x: jax.Array, kernel: jax.Array, strides: int, pads: tuple, groups: int) -> jax.Array:
    """`plain_conv` in the form that is fastest on a CPU."""
    if kernel.shape[:2] == (1, 1) and groups == 1 and not any(map(any, pads)):
        pointwise = gradients.bilinear(dot, None, gradients.by_product)
        return pointwise(x[:, ::strides, ::strides, :], kernel[0, 0])
    if groups == x.shape[-1] == kernel.shape[-1]:
        return shifted_depthwise(x, kernel, strides, pads)
    if groups == 1 and x.dtype != jnp.bfloat16:
        return dense_conv(x, kernel, strides, pads)
    return plain_conv(x, kernel, strides, pads, groups)


def dense_conv(x: jax.Array, kernel: jax.Array, strides: int, pads: Sequence) -> jax.Array:
    """`plain_conv` without groups, by Winograd's algorithm where it is faster, and with another weight gradient."""
    window, plain = kernel.shape[:2], partial(plain_conv, strides=strides, pads=pads)
    if x.shape[-1] == 3 and (strides, *window) != (1, 3, 3):
        plain = partial(colour_conv, strides=strides, pads=pads)
    elif x.shape[-1] == 1 and window == (3, 3):
        plain = partial(grey_conv, strides=strides, pads=pads)
    if window == (3, 3) and strides == 1 and tuple(map(tuple, pads)) == ((1, 1),) * 2 and min(kernel.shape[2:]) >= 32:
        # Exported for a batch of any size, a map may be large.
        any_size = export.is_symbolic_dim(x.shape[0])
        small = not any_size and x.shape[0] * math.prod(x.shape[1:3]) * max(kernel.shape[2:]) <= MOST_TILED
        forward, back = (winograd.forward, partial(winograd.forward, turned=True)) if small else (plain, None)
        return gradients.bilinear(forward, back, winograd.kernel_gradient)(x, kernel)
    if strides == 1 and window == (3, 3) and x.shape[-1] >= 16:
        return plain(x, kernel)  # few channels: XLA's own gradient is as fast
    taps = partial(gradients.by_taps, window=window, strides=strides, pads=pads)
    back = partial(gradients.by_rows, shape=x.shape, pads=pads) if strides == 1 and window[0] > 3 else None
    return gradients.bilinear(plain, back, taps)(x, kernel)


def colour_conv(x: jax.Array, kernel: jax.Array, strides: int, pads: Sequence) -> jax.Array:
    """`plain_conv` of three channels with a fourth of zeros: up to nine times faster, as three are not aligned."""
    x = jnp.pad(x, [(0, 0)] * 3 + [(0, 1)])
    kernel = jnp.pad(kernel, [(0, 0)] * 2 + [(0, 1), (0, 0)])
    return plain_conv(x, kernel, strides, pads)


def grey_conv(x: jax.Array, kernel: jax.Array, strides: int, pads: Sequence) -> jax.Array:
    """`plain_conv` of one channel as a product: as fast, and with a kernel for each episode up to fourteen times."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    sizes = [(size - taps) // strides + 1 for size, taps in zip(x.shape[1:3], kernel.shape[:2], strict=True)]
    windows = [tap for row in gradients.cut(x, kernel.shape[:2], strides, sizes) for tap in row]
    return dot(jnp.concatenate(windows, axis=-1), kernel.reshape(-1, kernel.shape[-1]))


def plain_conv(x: jax.Array, kernel: jax.Array, strides: int, pads: Sequence, groups: int = 1) -> jax.Array:
    """XLA's own convolution."""
    layout = ("NHWC", "HWIO", "NHWC")
    steps = (strides, strides)
    return lax.conv_general_dilated(x, kernel, steps, pads, dimension_numbers=layout, feature_group_count=groups)


def dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(..., C) @ (C, D) in the dtype of `x`, summed in float32 at least (on a CPU faster for bfloat16)."""
    contract = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, kernel, contract, preferred_element_type=wide(x.dtype)).astype(x.dtype)


def shifted_depthwise(x: jax.Array, kernel: jax.Array, strides: int, pads: Sequence) -> jax.Array:
    """(N, H, W, C) with (h, w, 1, C), every channel by itself: h * w shifted multiply-adds."""
    rows, columns = kernel.shape[:2]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    # How far the last window begins behind the first one.
    down = (padded.shape[1] - rows) // strides * strides
    right = (padded.shape[2] - columns) // strides * strides
    terms = []
    for i in range(rows):
        for j in range(columns):
            tile = padded[:, i : i + down + 1 : strides, j : j + right + 1 : strides, :]
            terms.append(tile.astype(wide(x.dtype)) * per_channel(kernel[i, j, 0], x).astype(wide(x.dtype)))
    return sum(terms[1:], terms[0]).astype(x.dtype)


# --- pools -------------------------------------------------------------------------------------------------


def max_pool(x: jax.Array, window: int, strides: int, padding: int = 0, fill: float = -np.inf) -> jax.Array:
    """Maximum over windows of (N, H, W, C), `fill` around it.

    On a CPU the padding is an operation of its own, since an ONNX exporter drops it from the window without a word;
    elsewhere that would be one more copy of the network's largest map.
    """
    edges = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    if padding and (for_cpu() or fill != -np.inf):
        x, edges = jnp.pad(x, edges, constant_values=fill), ((0, 0),) * 4
    if for_cpu():
        return gradients.max_pool(x, window, strides)
    return lax.reduce_window(x, -np.inf, lax.max, (1, window, window, 1), (1, strides, strides, 1), edges)


def global_pool(x: jax.Array) -> jax.Array:
    """(N, H, W, C) -> (N, C): the mean over the map, in float32 at least."""
    return jnp.mean(x.astype(wide(x.dtype)), axis=(1, 2))


def adaptive_pool(x: jax.Array, size: int) -> jax.Array:
    """(N, H, W, C) -> (N, s, s, C) for s = `size`: means over torch's overlapping bins."""
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (jnp.asarray(_bins(length, size), x.dtype) for length in x.shape[1:3])
    return jnp.einsum("ih,nhwc,jw->nijc", rows, x, columns)


def _bins(length: int, size: int) -> np.ndarray:
    """(size, length) weights: row i is the mean over pixels floor(i l / s) up to ceil((i + 1) l / s)."""
    weights = np.zeros((size, length))
    for i in range(size):
        first, last = i * length // size, -(-(i + 1) * length // size)
        weights[i, first:last] = 1 / (last - first)
    return weights


# --- batch norm --------------------------------------------------------------------------------------------


def batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: jax.Array, near: jax.Array | float = 0.0
) -> tuple:
    """Normalise by the batch -> (y, mean, biased variance), statistics (C,) over all other axes.

    On a mesh `x` is the global array, so the statistics are those of the global batch. The derivative is in
    closed form: two reductions where autodiff takes more passes. It is a JVP, so that both modes work.
    `near` (C,) is a value near the mean, such as the running one; it changes no result but for rounding.
    """
    return _batch_norm(for_cpu(), x, scale, bias, epsilon, near)


@partial(jax.jit, static_argnums=0)  # traced once for all layers of one shape, as `cpu_conv`
def _batch_norm(cpu: bool, *args: Any) -> tuple:
    return _normalised(cpu, *args)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _normalised(cpu: bool, x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: jax.Array, near: Any) -> tuple:
    axes, values = tuple(range(x.ndim - 1)), x.astype(wide(x.dtype))
    if cpu:
        mean = jnp.mean(values, axes)
        variance = jnp.mean(jnp.square(values - per_channel(mean, x)), axes)
    else:
        # Both sums in one pass, at the end of the convolution that makes x, and on a mesh in one all-reduce: where
        # memory and messages bound the step a second pass over x costs more than all of this arithmetic. Without the
        # shift E[x^2] - E[x]^2 would cancel where the mean is many deviations from 0.
        near = jnp.broadcast_to(lax.stop_gradient(jnp.asarray(near, values.dtype)), scale.shape)
        shifted = values - per_channel(near, x)
        offset = jnp.mean(shifted, axes)
        mean = near + offset
        variance = jnp.maximum(jnp.mean(jnp.square(shifted), axes) - jnp.square(offset), 0.0)
    factor = scale * lax.rsqrt(variance + epsilon)
    return (
        ((values - per_channel(mean, x)) * per_channel(factor, x) + per_channel(bias, x)).astype(x.dtype),
        mean,
        variance,
    )


@_normalised.defjvp
def _(cpu: bool, primals: tuple, tangents: tuple) -> tuple:
    x, scale, _, epsilon, _ = primals
    dx, d_scale, d_bias, _, _ = tangents
    y, mean, variance = _normalised(cpu, *primals)
    axes, inverse = tuple(range(x.ndim - 1)), lax.rsqrt(variance + epsilon)
    unit = (x.astype(mean.dtype) - per_channel(mean, x)) * per_channel(inverse, x)
    dx = dx.astype(mean.dtype)
    d_mean, slope = jnp.mean(dx, axes), jnp.mean(dx * unit, axes)
    factor = scale * inverse
    # Per-channel factors stay outside the reductions: the transpose then sums dy and dy * unit once each.
    dy = dx * per_channel(factor, x) + per_channel(d_bias - factor * d_mean, x)
    dy += unit * per_channel(d_scale - factor * slope, x)
    return (y, mean, variance), (dy.astype(x.dtype), d_mean, 2 * slope / inverse)


def pointwise_norm(x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: jax.Array) -> tuple:
    """`batch_norm` of `x @ kernel`, (..., C) with (C, D) -> (y, mean, biased variance), without that map in memory.

    A product's statistics follow from those of its input: the mean is mean(x) @ W, the variance the diagonal of
    W' cov(x) W. So the norm goes into the kernel, and neither the forward nor the backward pass writes or reads the
    map between the two. That is less memory traffic where D is larger than C, for C / D more arithmetic each way.
    """
    dtype, axes = wide(x.dtype), tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    # Products of bfloat16 are exact in float32; those of float32 would be cut to bfloat16 by default on a TPU.
    exact = None if x.dtype == jnp.bfloat16 else lax.Precision.HIGHEST
    gram = lax.dot_general(x, x, ((axes, axes), ((), ())), precision=exact, preferred_element_type=dtype) / count
    centre = jnp.mean(x.astype(dtype), axes)
    covariance = gram - centre[:, None] * centre[None, :]
    weights = kernel.astype(dtype)
    high = lax.Precision.HIGHEST
    mean = jnp.matmul(centre, weights, precision=high)
    variance = jnp.maximum(jnp.sum(weights * jnp.matmul(covariance, weights, precision=high), 0), 0.0)
    folded = (weights * (scale * lax.rsqrt(variance + epsilon))[None, :]).astype(x.dtype)
    # Taken from the rounded kernel, or the map's mean would be off by the rounding.
    shift = bias - jnp.matmul(centre, folded.astype(dtype), precision=high)
    # Not cut to x's dtype: on a mesh the folded kernel's gradient then goes with the shift's in one all-reduce.
    y = lax.dot_general(x, folded, (((x.ndim - 1,), (0,)), ((), ())), preferred_element_type=dtype)
    return (y + per_channel(shift, x)).astype(x.dtype), mean, variance
