"""Operations whose gradients are written by hand, for CPUs: XLA's own transposes of these are slow there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

TwoArrays = Callable[[jax.Array, jax.Array], jax.Array]


def bilinear(forward: TwoArrays, input_gradient: TwoArrays | None, kernel_gradient: TwoArrays) -> TwoArrays:
    """`forward(x, kernel)` with `input_gradient(dy, kernel)` and `kernel_gradient(x, dy)`, in both modes, of any order.

    None: the transpose of `forward`.
    """
    product = jax.custom_jvp(lambda x, kernel: forward(x, kernel))

    # The tangents are linear maps, and JAX transposes them for the gradient: each is written as the transpose of the
    # form that the gradient shall have.
    def derivative(primals: tuple, tangents: tuple) -> tuple:
        (x, kernel), (dx, dkernel) = primals, tangents
        y = product(x, kernel)
        like = jax.ShapeDtypeStruct(y.shape, y.dtype)

        def of_input(dx: jax.Array) -> jax.Array:
            back = input_gradient
            return (
                forward(dx, kernel) if back is None else jax.linear_transpose(lambda dy: back(dy, kernel), like)(dx)[0]
            )

        # What is made of `x` is made again in the backward pass: kept, it would take several times its memory.
        @jax.checkpoint
        def of_kernel(x: jax.Array, dkernel: jax.Array) -> jax.Array:
            return jax.linear_transpose(lambda dy: kernel_gradient(x, dy), like)(dkernel)[0]

        found = [] if isinstance(dx, SymbolicZero) else [of_input(dx)]
        found += [] if isinstance(dkernel, SymbolicZero) else [of_kernel(x, dkernel)]
        # In the backward pass this makes a buffer of `dy`, which both gradients read.
        return y, sum(found[1:], found[0]) / _hidden_row(kernel, y)

    product.defjvp(derivative, symbolic_zeros=True)
    return product


def _hidden_row(kernel: jax.Array, like: jax.Array) -> jax.Array:
    """Ones for each channel that XLA cannot know to be ones; see `ops.fence`."""
    row = lax.stop_gradient(kernel.reshape(-1, kernel.shape[-1])[0])
    ones = jnp.where(jnp.isfinite(row), row * 0, jnp.zeros_like(row)) + 1
    return ones.astype(like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))


def by_product(x: jax.Array, dy: jax.Array) -> jax.Array:
    """(..., C) with (..., D) -> (C, D): the kernel's gradient of a matrix product, summed in float32 at least."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows = (((0,), (0,)), ((), ()))
    x, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return lax.dot_general(x, dy, rows, preferred_element_type=wide).astype(x.dtype)


def by_taps(x: jax.Array, dy: jax.Array, window: Sequence[int], strides: int, pads: Sequence) -> jax.Array:
    """(N, H, W, C) with (N, H', W', D) -> (h, w, C, D): every tap is a matrix product over all pixels."""
    taps = cut(jnp.pad(x, ((0, 0), *pads, (0, 0))), window, strides, dy.shape[1:3])
    if x.shape[-1] < 16:  # the first layer: a product of three channels would be too narrow
        found = [by_product(jnp.concatenate(row, axis=-1), dy) for row in taps]
    else:
        found = [jnp.stack([by_product(tap, dy) for tap in row]) for row in taps]
    return jnp.stack(found).reshape(*window, x.shape[-1], dy.shape[-1])


def by_rows(dy: jax.Array, kernel: jax.Array, shape: Sequence[int], pads: Sequence) -> jax.Array:
    """(N, H', W', D) with (h, w, C, D) -> `shape` (N, H, W, C): the input's gradient of a large window, stride 1.

    It is the transpose of a convolution along the columns alone, whose channels are a window's row: its own gradient
    gathers from h places instead of h * w, at up to three times the speed for 5 x 5.
    """
    height, width, channels, filters = kernel.shape

    def forward(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        rows = jnp.concatenate(cut(x, (1, width), 1, (x.shape[1], dy.shape[2]))[0], axis=-1)
        wide = kernel.reshape(height, 1, width * channels, filters)
        return lax.conv_general_dilated(rows, wide, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    return jax.linear_transpose(forward, jax.ShapeDtypeStruct(tuple(shape), dy.dtype))(dy)[0]


def cut(x: jax.Array, window: Sequence[int], strides: int, outputs: Sequence[int]) -> list[list[jax.Array]]:
    """The pixels (N, H', W', C) that each place [i][j] of the window sees, for `outputs` = (H', W')."""
    below, behind = ((n - 1) * strides + 1 for n in outputs)
    return [
        [x[:, i : i + below : strides, j : j + behind : strides] for j in range(window[1])] for i in range(window[0])
    ]


def max_pool(x: jax.Array, window: int, strides: int) -> jax.Array:
    """(N, H, W, C) -> (N, H', W', C), no padding; of equal pixels the first one gets the gradient, as in torch."""
    shape = [(n - window) // strides + 1 for n in x.shape[1:3]]
    squares = (window, window)

    def largest(places: list[list[jax.Array]]) -> jax.Array:
        return reduce(jnp.maximum, [pixels for row in places for pixels in row])

    def gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
        free = jnp.ones(dy.shape, bool)
        shares, places = [], cut(x, squares, strides, shape)
        # Not the maximum of the forward pass: `x` may be computed anew here, and be rounded otherwise.
        y = largest(places)
        for row in places:
            shares.append([])
            for pixels in row:
                hit = (pixels == y) & free
                free &= ~hit
                shares[-1].append(jnp.where(hit, dy, jnp.zeros_like(dy)))
        return _put_back(shares, strides, x.shape)

    @jax.custom_jvp
    def pool(x: jax.Array) -> jax.Array:
        return largest(cut(x, squares, strides, shape))

    @jax.checkpoint  # the masks are made again: kept, they would take more memory than `x`
    def tangent(x: jax.Array, dx: jax.Array) -> jax.Array:
        like = jax.ShapeDtypeStruct((x.shape[0], *shape, x.shape[3]), x.dtype)
        return jax.linear_transpose(lambda dy: gradient(x, dy), like)(dx)[0]

    pool.defjvp(lambda primals, tangents: (pool(*primals), tangent(*primals, *tangents)))
    return pool(x)


def _put_back(shares: Sequence[Sequence[jax.Array]], strides: int, shape: Sequence[int]) -> jax.Array:
    """The transpose of `cut`: what each place of the window gives, added where it came from.

    Pixels that lie `strides` apart see the same places of the window, so each such grid is a sum of whole arrays.
    """
    more = (len(shares) - 1) // strides  # places further on that fall on the same grid

    def moved(share: jax.Array, i: int, j: int) -> jax.Array:
        down, right = i // strides, j // strides
        return jnp.pad(share, ((0, 0), (down, more - down), (right, more - right), (0, 0)))

    def grid(a: int, b: int) -> jax.Array:
        places = [(i, j) for i in range(a, len(shares), strides) for j in range(b, len(shares), strides)]
        parts = [moved(shares[i][j], i, j) for i, j in places] or [jnp.zeros_like(moved(shares[0][0], 0, 0))]
        return reduce(jnp.add, parts)

    rows = [jnp.stack([grid(a, b) for b in range(strides)], axis=3) for a in range(strides)]
    whole = jnp.stack(rows, axis=2)
    n, down, _, across, _, channels = whole.shape
    whole = whole.reshape(n, strides * down, strides * across, channels)
    missing = [max(0, want - have) for want, have in zip(shape[1:3], whole.shape[1:3], strict=True)]
    whole = jnp.pad(whole, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    return whole[:, : shape[1], : shape[2]]
