"""Common corruptions at five levels (Hendrycks and Dietterich 2019, arXiv:1903.12261), of images for a network.

All fifteen kinds, and of the four others the Gaussian blur. Strengths are those of ImageNet-C (images of 224 pixels),
and of CIFAR-10-C (32) for images of at most 64. At other sizes lengths stay so many pixels, but for elastic_transform,
whose are shares of the shorter side, and fog and frost, whose landscape is cut from the next power of two. Frost is
drawn, where the authors lay photographs of it over the image: figures on it are not those of papers.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from tl.data import optics
from tl.errors import InputError, unknown

# Kind -> strengths of large images, of small ones.
STRENGTHS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "gaussian_noise": ((0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": ((60, 25, 12, 5, 3), (500, 250, 100, 75, 50)),
    "impulse_noise": ((0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07)),
    "gaussian_blur": ((1, 2, 3, 4, 6), (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": ((0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": ((0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15)),
    "pixelate": ((0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": ((25, 18, 15, 10, 7), (80, 65, 58, 50, 40)),
    # radius of the disk, softness of its edge
    "defocus_blur": (
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    ),
    # deviation of the blurs, farthest exchange, times
    "glass_blur": (
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    # radius, deviation
    "motion_blur": (((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    # end of the factors, their step
    "zoom_blur": (
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    ),
    # see optics.snow
    "snow": (
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    # share of the image, of the ice
    "frost": (
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    ),
    # how much, and how fast it loses detail
    "fog": (
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    ),
    # strength, deviation, shift of the corners, as shares of the shorter side
    "elastic_transform": (
        tuple(
            (244 / 224 * a, 244 / 224 * s, 244 / 224 * m)  # the authors' code multiplies by 244
            for a, s, m in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
        ),
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
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
    if kind in BY_OPTICS:
        x = BY_OPTICS[kind](x, by, rng)
    elif kind == "gaussian_noise":
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


# (image in 0..1, strength, generator) -> image
BY_OPTICS: dict[str, Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]] = {
    "defocus_blur": lambda x, by, rng: optics.defocus(x, *by),
    "glass_blur": lambda x, by, rng: optics.glass(x, *by, rng=rng),
    "motion_blur": lambda x, by, rng: optics.motion(x, *by, degrees=rng.uniform(-45, 45)),
    "zoom_blur": lambda x, by, rng: optics.zoom_blur(x, *by),
    "snow": optics.snow,
    "frost": lambda x, by, rng: optics.frost(x, *by, rng=rng),
    "fog": lambda x, by, rng: optics.fog(x, *by, rng=rng),
    "elastic_transform": lambda x, by, rng: optics.elastic(x, *(share * min(x.shape[:2]) for share in by), rng=rng),
}


def _by_pillow(picture: Image.Image, kind: str, by: float) -> np.ndarray:
    if kind == "gaussian_blur":
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(by)))
    if kind == "pixelate":
        few = (max(1, int(picture.width * by)), max(1, int(picture.height * by)))
        return np.asarray(picture.resize(few, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(by))
    return np.asarray(Image.open(buffer).convert("RGB"))
