"""Images changed by less than a bound in every pixel, so that a network errs: a measure of how far it can be pushed."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Points = tuple[jax.Array, jax.Array, jax.Array]  # where it is, the worst so far, and the losses there
Loss = Callable[[jax.Array], jax.Array]  # (N, H, W, C) images in 0..255 -> (N,) losses, each of its own image alone


def fgsm(loss: Loss, image: jax.Array, epsilon: jax.Array | float) -> jax.Array:
    """One step of `epsilon` along the sign of the gradient (Goodfellow et al. 2015, arXiv:1412.6572, section 4)."""
    return within(image + epsilon * jnp.sign(slope(loss, image)), image, epsilon)


def pgd(
    loss: Loss, image: jax.Array, epsilon: jax.Array | float, key: jax.Array, steps: int = 20, share: float = 0.1
) -> jax.Array:
    """`steps` of `share` of epsilon each, from a point drawn in the ball (Madry et al. 2018, arXiv:1706.06083, eq. 3).

    What is returned is the worst point of all that were visited, for each image.
    """
    start = within(image + jax.random.uniform(key, image.shape, image.dtype, -epsilon, epsilon), image, epsilon)

    def step(carry: Points, _: None) -> tuple[Points, None]:
        now, worst, most = carry
        now = within(now + share * epsilon * jnp.sign(slope(loss, now)), image, epsilon)
        values = loss(now)
        ahead = values > most
        return (now, jnp.where(ahead[:, None, None, None], now, worst), jnp.where(ahead, values, most)), None

    (_, worst, _), _ = jax.lax.scan(step, (start, start, loss(start)), None, length=steps)
    return worst


def slope(loss: Loss, image: jax.Array) -> jax.Array:
    """The gradient of each image's own loss."""
    return jax.grad(lambda x: loss(x).sum())(image)


def within(moved: jax.Array, image: jax.Array, epsilon: jax.Array | float) -> jax.Array:
    """The nearest image whose pixels lie in 0..255 and within `epsilon` of the first one's."""
    return jnp.clip(jnp.clip(moved, image - epsilon, image + epsilon), 0, 255)
