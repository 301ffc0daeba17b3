"""From features back to images: the decoder of autoencoders."""

from __future__ import annotations

import flax.linen as nn
import jax

from tl.models.layers import Conv, Dense, Mode


class Decoder(nn.Module):
    """(N, D) -> (N, *size, 3) normalised images: a dense layer to a quarter of the size, which is doubled twice.

    Each doubling repeats pixels and convolves them (Odena et al. 2016: transposed convolutions leave a grid behind).
    There are `width` channels at the whole size, and twice as many at half of it.
    """

    width: int = 16

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int], mode: Mode = Mode()) -> jax.Array:  # noqa: B008 (frozen)
        height, width = size
        shape = (-(-height // 4), -(-width // 4), 4 * self.width)
        x = Dense(shape[0] * shape[1] * shape[2], name="fc")(x)
        x = nn.relu(x).reshape(-1, *shape)
        for i, channels in enumerate((2 * self.width, self.width), start=1):
            x = x.repeat(2, axis=1).repeat(2, axis=2)
            x = nn.relu(Conv(channels, bias=True, name=f"conv{i}")(x))
        return Conv(3, bias=True, name="out")(x)[:, :height, :width]
