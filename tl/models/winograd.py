"""Lavin and Gray 2016, Fast Algorithms for Convolutional Neural Networks (arXiv:1509.09308): 3x3 at stride 1 on a CPU.

F(2x2, 3x3): a tile of 4 x 4 pixels gives 2 x 2 outputs by 16 products where the plain convolution takes 36. All the
work lies in 16 matrix products over channels, which XLA:CPU does well, while its own weight gradient takes two to four
times as long as this one. The transforms only add, subtract and halve: float32 stays about as accurate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# 16 arrays, one for each place in a tile: [row][column].
Tiles = Sequence[Sequence[jax.Array]]


def _pixels(d: Sequence[Any]) -> list[Any]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _weights(g: Sequence[Any]) -> list[Any]:
    outer, inner = (g[0] + g[2]) * 0.5, g[1] * 0.5
    return [g[0], outer + inner, outer - inner, g[2]]


def _weights_back(u: Sequence[Any]) -> list[Any]:
    middle = (u[1] + u[2]) * 0.5
    return [u[0] + middle, (u[1] - u[2]) * 0.5, middle + u[3]]


def _outputs(m: Sequence[Any]) -> list[Any]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _outputs_back(y: Sequence[Any]) -> list[Any]:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]


def _both_ways(transform: Callable[[Sequence[Any]], list[Any]], tiles: Tiles) -> Tiles:
    """`transform` along the columns, then along the rows."""
    columns = [transform(column) for column in zip(*tiles, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _cut(x: jax.Array, size: int) -> Tiles:
    """(N, H, W, C) -> `size` x `size` arrays (N, H / 2, W / 2, C): every tile's pixel at that place."""
    height, width = x.shape[1:3]
    down, across = -(-height // 2), -(-width // 2)
    edge = 1 if size == 4 else 0
    pads = ((0, 0), (edge, edge + 2 * down - height), (edge, edge + 2 * across - width), (0, 0))
    x = jnp.pad(x, pads)
    return [[x[:, i : i + 2 * down - 1 : 2, j : j + 2 * across - 1 : 2] for j in range(size)] for i in range(size)]


def _product(left: Tiles, right: Tiles, contract: tuple[Sequence[int], Sequence[int]]) -> Tiles:
    dot = partial(lax.dot_general, dimension_numbers=(contract, ((), ())))
    return [[dot(a, b) for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]


def forward(x: jax.Array, kernel: jax.Array, turned: bool = False) -> jax.Array:
    """(N, H, W, C) with (3, 3, C, D) -> (N, H, W, D), one pixel of zeros around `x`.

    `turned`: from D channels to C with the kernel turned by half a circle, the gradient for the input.
    """
    height, width = x.shape[1:3]
    taps = [list(row)[::-1] for row in kernel][::-1] if turned else [list(row) for row in kernel]
    products = _product(_both_ways(_pixels, _cut(x, 4)), _both_ways(_weights, taps), ((3,), (1 if turned else 0,)))
    tiles = _both_ways(_outputs, products)
    y = jnp.stack([jnp.stack(row, axis=3) for row in tiles], axis=2)
    n, down, _, across, _, channels = y.shape
    return y.reshape(n, 2 * down, 2 * across, channels)[:, :height, :width]


def kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """The gradient (3, 3, C, D) of `forward` for the kernel: its transpose, over the same tiles."""
    flat = lambda tiles: [[t.reshape(-1, t.shape[-1]) for t in row] for row in tiles]  # noqa: E731
    pixels, outputs = flat(_both_ways(_pixels, _cut(x, 4))), flat(_both_ways(_outputs_back, _cut(dy, 2)))
    tiles = _both_ways(_weights_back, _product(pixels, outputs, ((0,), (0,))))
    return jnp.stack([jnp.stack(row) for row in tiles])
