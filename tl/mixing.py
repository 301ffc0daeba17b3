"""Augmentation across the images of a batch: inside the step, on the device, where the whole batch is at hand."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from tl.errors import InputError


@dataclasses.dataclass(frozen=True)
class Mixed:
    """`image` (N, H, W, 3) float in 0..255: row i mixes row i, with share `share`, and row `partner[i]`."""

    image: jax.Array
    partner: jax.Array
    share: jax.Array


def mixup(key: jax.Array, image: jax.Array, alpha: float, dtype: jnp.dtype | str = "float32") -> Mixed:
    """Convex mixtures with one share per batch, drawn from Beta(alpha, alpha) (Zhang et al. 2018, eq. 1)."""
    share, partner, image = _draw(key, image, alpha, dtype)
    return Mixed(share * image + (1 - share) * image[partner], partner, share)


def cutmix(key: jax.Array, image: jax.Array, alpha: float, dtype: jnp.dtype | str = "float32") -> Mixed:
    """A rectangle of area (1 - share) is pasted from the partner (Yun et al. 2019, eq. 1 and 2).

    The share returned is the area that is really left: the rectangle is cut at the border.
    """
    needs_pixels("cutmix", image)
    share, partner, image = _draw(key, image, alpha, dtype)
    height, width = image.shape[1:3]
    centre = jax.random.uniform(jax.random.fold_in(key, 2), (2,), image.dtype)
    half = jnp.sqrt(1 - share) / 2
    y, x = (jnp.arange(height)[:, None] + 0.5) / height, (jnp.arange(width)[None, :] + 0.5) / width  # pixel centres
    inside = (jnp.abs(y - centre[0]) < half) & (jnp.abs(x - centre[1]) < half)
    mixed = jnp.where(inside[None, :, :, None], image[partner], image)
    return Mixed(mixed, partner, 1 - inside.mean(dtype=image.dtype))


def styles(key: jax.Array, x: jax.Array, alpha: float, probability: float, epsilon: float = 1e-6) -> jax.Array:
    """(N, H, W, C) maps with channel means and deviations mixed with a partner's, by shares of Beta(alpha, alpha).

    No gradient enters the statistics; with 1 - `probability` the maps stay as they are (Zhou et al. 2021,
    arXiv:2104.02008, eq. 4 to 6 and algorithm 1).
    """
    needs_pixels("mixing styles", x)
    mean = jax.lax.stop_gradient(x.mean((1, 2), keepdims=True))
    deviation = jax.lax.stop_gradient(jnp.sqrt(x.var((1, 2), keepdims=True) + epsilon))
    n = x.shape[0]
    shares = jax.random.beta(jax.random.fold_in(key, 0), alpha, alpha, (n, 1, 1, 1), dtype=x.dtype)
    partner = jax.random.permutation(jax.random.fold_in(key, 1), n)
    mixed_mean = shares * mean + (1 - shares) * mean[partner]
    mixed_deviation = shares * deviation + (1 - shares) * deviation[partner]
    mixed = (x - mean) / deviation * mixed_deviation + mixed_mean
    return jnp.where(jax.random.uniform(jax.random.fold_in(key, 2)) < probability, mixed, x)


def needs_pixels(what: str, x: jax.Array) -> None:
    """InputError unless `x` is (N, H, W, C)."""
    if x.ndim != 4:
        raise InputError(
            f"{what} wants images or maps of pixels, not vectors of {x.shape[-1]} numbers: leave it out or give images."
        )


def _draw(
    key: jax.Array, image: jax.Array, alpha: float, dtype: jnp.dtype | str
) -> tuple[jax.Array, jax.Array, jax.Array]:
    image = image.astype(jnp.promote_types(dtype, jnp.float32))  # bfloat16 would round pixels and shares
    share = jax.random.beta(jax.random.fold_in(key, 0), alpha, alpha, dtype=image.dtype)
    partner = jax.random.permutation(jax.random.fold_in(key, 1), image.shape[0])
    return share, partner, image
