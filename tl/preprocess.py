"""How an image becomes the network's input: the same numbers in training, evaluation, prediction and export."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """`resize` is the short side before the centre crop of `size` pixels; `mean`, `std` are per RGB channel in 0..1."""

    size: int = 224
    resize: int = 256
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocess:
        values = json.loads(text)
        return cls(values["size"], values["resize"], tuple(values["mean"]), tuple(values["std"]))


def normalise(image: jax.Array, preprocess: Preprocess, dtype: jnp.dtype | str = "float32") -> jax.Array:
    """(N, H, W, 3) uint8, or float in 0..255, -> (N, H, W, 3) `dtype`, per-channel (x / 255 - mean) / std.

    Vectors (N, D) stay as they are. It runs inside jit, so that the host sends bytes: a quarter of the traffic of
    float32.
    """
    if image.ndim == 2:
        return image.astype(dtype)
    wide = jnp.promote_types(dtype, jnp.float32)  # bfloat16 would round the pixel values before they are centred
    mean = jnp.asarray(preprocess.mean, wide).reshape(1, 1, 1, 3)
    std = jnp.asarray(preprocess.std, wide).reshape(1, 1, 1, 3)
    return ((image.astype(wide) / 255 - mean) / std).astype(dtype)


def unnormalise(pixels: jax.Array, preprocess: Preprocess) -> jax.Array:
    """The image (N, H, W, 3), a float in 0..255, of which `normalise` makes `pixels`."""
    mean = jnp.asarray(preprocess.mean, pixels.dtype).reshape(1, 1, 1, 3)
    std = jnp.asarray(preprocess.std, pixels.dtype).reshape(1, 1, 1, 3)
    return (pixels * std + mean) * 255
