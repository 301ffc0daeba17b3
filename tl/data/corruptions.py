"""Common corruptions at five levels (Hendrycks and Dietterich 2019, arXiv:1903.12261), of images for a network.

Strengths are those of ImageNet-C, and of CIFAR-10-C for images of at most 64 pixels. These are the paper's kinds that
need neither pictures of frost nor optics: noise, a blur, brightness, contrast, fewer pixels and JPEG.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from tl.errors import InputError, unknown

# Kind -> strengths of large images, of small ones.
STRENGTHS = {
    "gaussian_noise": ((0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": ((60, 25, 12, 5, 3), (500, 250, 100, 75, 50)),
    "impulse_noise": ((0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07)),
    "gaussian_blur": ((1, 2, 3, 4, 6), (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": ((0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": ((0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15)),
    "pixelate": ((0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": ((25, 18, 15, 10, 7), (80, 65, 58, 50, 40)),
}
LEVELS = range(1, 6)
SMALL = 64


def corrupted(image: np.ndarray, kind: str, level: int, rng: np.random.Generator) -> np.ndarray:
    """A uint8 image (H, W, 3) -> another; `level` 1 to 5. InputError for an unknown kind or level."""
    if kind not in STRENGTHS:
        raise unknown("corruption", kind, STRENGTHS)
    if level not in LEVELS:
        raise InputError(f"the level {level} of a corruption must be one of 1 to 5.")
    by = STRENGTHS[kind][max(image.shape[:2]) <= SMALL][level - 1]
    if kind in ("gaussian_blur", "pixelate", "jpeg"):
        return _by_pillow(Image.fromarray(image), kind, by)
    x = image / 255
    if kind == "gaussian_noise":
        x = x + rng.normal(0, by, x.shape)
    elif kind == "shot_noise":
        x = rng.poisson(x * by) / by
    elif kind == "impulse_noise":
        # Salt and pepper: each number by itself, half to one end and half to the other.
        drawn = rng.uniform(size=x.shape)
        x = np.where(drawn < by / 2, 0.0, np.where(drawn < by, 1.0, x))
    elif kind == "brightness":
        # The value of HSV, the largest channel, rises, hue and saturation stay: all channels by one factor.
        value = x.max(axis=2, keepdims=True)
        raised = np.minimum(value + by, 1)
        x = np.where(value > 0, x * raised / np.maximum(value, 1e-9), raised)
    else:
        mean = x.mean(axis=(0, 1), keepdims=True)
        x = (x - mean) * by + mean
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)


def _by_pillow(picture: Image.Image, kind: str, by: float) -> np.ndarray:
    if kind == "gaussian_blur":
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(by)))
    if kind == "pixelate":
        few = (max(1, int(picture.width * by)), max(1, int(picture.height * by)))
        return np.asarray(picture.resize(few, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(by))
    return np.asarray(Image.open(buffer).convert("RGB"))
