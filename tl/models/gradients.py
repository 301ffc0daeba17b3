"""Convolutions whose gradients are written by hand, since XLA:CPU's own for a kernel is slow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

TwoArrays = Callable[[jax.Array, jax.Array], jax.Array]


def bilinear(forward: TwoArrays, input_gradient: TwoArrays | None, kernel_gradient: TwoArrays) -> TwoArrays:
    """`forward(x, kernel)` with `input_gradient(dy, kernel)` and `kernel_gradient(x, dy)`, in both modes, of any order.

    None: the transpose of `forward`.
    """
    conv = jax.custom_jvp(lambda x, kernel: forward(x, kernel))

    # The tangents are linear maps, and JAX transposes them for the gradient: each is written as the transpose of the
    # form that the gradient shall have.
    def derivative(primals: tuple, tangents: tuple) -> tuple:
        (x, kernel), (dx, dkernel) = primals, tangents
        y = conv(x, kernel)
        like = jax.ShapeDtypeStruct(y.shape, y.dtype)

        def of_input(dx: jax.Array) -> jax.Array:
            if input_gradient is None:
                return forward(dx, kernel)
            return jax.linear_transpose(lambda dy: input_gradient(dy, kernel), like)(dx)[0]

        # What is made of `x` is made again in the backward pass: kept, it would take several times its memory.
        @jax.checkpoint
        def of_kernel(x: jax.Array, dkernel: jax.Array) -> jax.Array:
            return jax.linear_transpose(lambda dy: kernel_gradient(x, dy), like)(dkernel)[0]

        found = [] if isinstance(dx, SymbolicZero) else [of_input(dx)]
        found += [] if isinstance(dkernel, SymbolicZero) else [of_kernel(x, dkernel)]
        return y, sum(found[1:], found[0])

    conv.defjvp(derivative, symbolic_zeros=True)
    return conv


def by_taps(x: jax.Array, dy: jax.Array, window: Sequence[int], strides: int, pads: Sequence) -> jax.Array:
    """(N, H, W, C) with (N, H', W', D) -> (h, w, C, D): every tap is a matrix product over all pixels."""
    rows, columns = dy.shape[1:3]
    outputs = dy.reshape(-1, dy.shape[-1])
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))

    def seen_by(i: int, j: int) -> jax.Array:
        below, behind = i + (rows - 1) * strides + 1, j + (columns - 1) * strides + 1
        return x[:, i:below:strides, j:behind:strides].reshape(-1, x.shape[-1])

    def product(pixels: jax.Array) -> jax.Array:
        return lax.dot_general(pixels, outputs, (((0,), (0,)), ((), ())))

    taps = [[seen_by(i, j) for j in range(window[1])] for i in range(window[0])]
    if x.shape[-1] < 16:  # of the first layer: a product of three channels would be too narrow
        found = [product(jnp.concatenate(row, axis=1)) for row in taps]
    else:
        found = [jnp.stack([product(tap) for tap in row]) for row in taps]
    return jnp.stack(found).reshape(*window, x.shape[-1], dy.shape[-1])
