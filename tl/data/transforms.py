"""Augmentation and resizing on the host: each transform takes and returns one uint8 (H, W, 3) image.

All take `(image, rng, **arguments)`; `rng` is a numpy Generator, and those that draw nothing ignore it.
Pixels that come from outside the frame are `fill` (0..255). Resampling is bilinear; sizes are in pixels,
angles in degrees.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from tl.data import images
from tl.errors import InputError, unknown
from tl.preprocess import Preprocess

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Steps = Sequence[tuple[str, dict[str, Any]]]

# Those that change a stroke's form.
BENDING = ("flip", "rotation", "shear", "zoom", "elastic", "random_resized_crop", "cutout")
BILINEAR = Image.Resampling.BILINEAR


def resize(image: np.ndarray, rng: np.random.Generator, size: int | tuple[int, int]) -> np.ndarray:
    """Antialiased resize: the short side to `size`, keeping the aspect, or to `size` = (height, width)."""
    height, width = image.shape[:2]
    if isinstance(size, int):
        short = min(height, width)
        # The long side is rounded down, as torchvision does, so that published accuracies can be met.
        size = (size * height // short, size * width // short)
    if tuple(size) == (height, width):
        return image
    return images.resized(image, *size)


def centre_crop(image: np.ndarray, rng: np.random.Generator, size: int, fill: int = 0) -> np.ndarray:
    """The middle `size` x `size`; a smaller image is padded with `fill` first."""
    height, width = image.shape[:2]
    if min(height, width) < size:
        tall, wide = max(height, size), max(width, size)
        image = _padded(image, (tall - height) // 2, (wide - width) // 2, tall, wide, fill)
        height, width = tall, wide
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[top : top + size, left : left + size]


def random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    size: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """A random rectangle, resized to `size` x `size`, antialiased (Szegedy et al. 2015).

    `scale`: its share of the area; `ratio`: width / height, drawn on a log scale. After ten rectangles that
    don't fit, the largest central one of an allowed ratio.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            break
    else:
        w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
        left, top = (width - w) // 2, (height - h) // 2
    box = (left, top, left + w, top + h)
    return images.resized(image, size, size, box)


def random_crop(image: np.ndarray, rng: np.random.Generator, size: int, pad: int = 4, fill: int = 0) -> np.ndarray:
    """A random `size` x `size` window of the image with `pad` pixels of `fill` around it (He et al. 2015)."""
    height, width = image.shape[:2]
    room = (height + 2 * pad - size, width + 2 * pad - size)
    if min(room) < 0:
        raise InputError(
            f"random_crop: size={size} is larger than an image of {height} x {width} with pad={pad}; "
            f"put a resize before it."
        )
    image = _padded(image, pad, pad, height + 2 * pad, width + 2 * pad, fill)
    top, left = (int(rng.integers(r + 1)) for r in room)
    return image[top : top + size, left : left + size]


def flip(image: np.ndarray, rng: np.random.Generator, probability: float = 0.5) -> np.ndarray:
    """Left and right exchanged with `probability` (0..1)."""
    return image[:, ::-1] if rng.random() < probability else image


def shift(image: np.ndarray, rng: np.random.Generator, fraction: float = 0.1, fill: int = 0) -> np.ndarray:
    """Moved by whole pixels, each way at most `fraction` (0..1) of the height and of the width."""
    height, width = image.shape[:2]
    most_y, most_x = round(fraction * height), round(fraction * width)
    dy, dx = int(rng.integers(-most_y, most_y + 1)), int(rng.integers(-most_x, most_x + 1))
    moved = np.full_like(image, fill)
    target = moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
    target[...] = image[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
    return moved


def rotation(image: np.ndarray, rng: np.random.Generator, degrees: float = 15.0, fill: int = 0) -> np.ndarray:
    """Turned about the middle by an angle drawn from -degrees..degrees."""
    angle = math.radians(rng.uniform(-degrees, degrees))
    cos, sin = math.cos(angle), math.sin(angle)
    return _affine(image, ((cos, -sin), (sin, cos)), fill)


def shear(image: np.ndarray, rng: np.random.Generator, degrees: float = 10.0, fill: int = 0) -> np.ndarray:
    """Upright lines leant by an angle drawn from -degrees..degrees; the middle row stays."""
    return _affine(image, ((1.0, math.tan(math.radians(rng.uniform(-degrees, degrees)))), (0.0, 1.0)), fill)


def zoom(
    image: np.ndarray, rng: np.random.Generator, scale: tuple[float, float] = (0.8, 1.2), fill: int = 0
) -> np.ndarray:
    """Magnified about the middle by a factor drawn from `scale` (above 1: larger), in the same frame."""
    inverse = 1 / rng.uniform(*scale)
    return _affine(image, ((inverse, 0.0), (0.0, inverse)), fill)


def elastic(
    image: np.ndarray, rng: np.random.Generator, strength: float = 0.05, cells: int = 3, fill: int = 0
) -> np.ndarray:
    """Bent as if drawn by another hand (after Simard et al. 2003, section 2).

    The corners of `cells` x `cells` squares are moved by normal noise of `strength`, a share of the side, and all
    between them smoothly.
    """
    height, width = image.shape[:2]
    xs, ys = np.linspace(0, width, cells + 1), np.linspace(0, height, cells + 1)
    corners = np.stack(np.meshgrid(xs, ys), axis=-1)
    corners = corners + rng.normal(0, strength, corners.shape) * (width, height)
    mesh = []
    for i in range(cells):
        for j in range(cells):
            box = (round(xs[j]), round(ys[i]), round(xs[j + 1]), round(ys[i + 1]))
            # The corners of the source, from the upper left against the clock.
            quad = (corners[i, j], corners[i + 1, j], corners[i + 1, j + 1], corners[i, j + 1])
            mesh.append((box, tuple(float(v) for corner in quad for v in corner)))
    picture = Image.fromarray(image)
    return np.asarray(picture.transform((width, height), Image.Transform.MESH, mesh, BILINEAR, fillcolor=(fill,) * 3))


def low_resolution(image: np.ndarray, rng: np.random.Generator, smallest: int = 8) -> np.ndarray:
    """Seen at a short side drawn from `smallest`.. its own pixels, then brought back to its size (Li et al.
    2020)."""
    height, width = image.shape[:2]
    short = int(rng.integers(min(smallest, height, width), min(height, width) + 1))
    return resize(resize(image, rng, short), rng, (height, width))


def greyscale(image: np.ndarray, rng: np.random.Generator, probability: float = 0.2) -> np.ndarray:
    """Three equal channels of luma (ITU-R 601) with `probability` (0..1; 0.2 in Chen et al. 2020)."""
    if rng.random() >= probability:
        return image
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def cutout(image: np.ndarray, rng: np.random.Generator, fraction: float = 0.5, fill: int = 127) -> np.ndarray:
    """A square of `fraction` of the short side is `fill`, its middle anywhere (DeVries and Taylor 2017)."""
    height, width = image.shape[:2]
    side = round(fraction * min(height, width))
    top, left = (int(rng.integers(length)) - side // 2 for length in (height, width))
    found = image.copy()
    found[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = fill
    return found


def colour_jitter(
    image: np.ndarray,
    rng: np.random.Generator,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.0,
) -> np.ndarray:
    """Brightness, contrast, saturation and hue changed in random order (Howard 2013, Chen et al. 2020).

    The first three are multiplied by a factor from max(0, 1 - x)..1 + x: brightness towards black, contrast
    towards the image's mean luma, saturation towards its luma. `hue` (0..0.5) turns the colour circle by
    -hue..hue of a full turn.
    """
    strengths = (brightness, contrast, saturation, hue)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    picture = Image.fromarray(image)
    for index in rng.permutation(4):
        strength = strengths[index]
        if not strength:
            continue
        if index == 3:
            picture = _turn_hue(picture, rng.uniform(-strength, strength))
        else:
            factor = rng.uniform(max(0.0, 1 - strength), 1 + strength)
            picture = enhancers[index](picture).enhance(factor)
    return np.asarray(picture)


def _affine(image: np.ndarray, inverse: tuple[tuple[float, float], ...], fill: int) -> np.ndarray:
    """Pixel p of the result is taken from `inverse` @ (p - middle) + middle, p = (x, y)."""
    height, width = image.shape[:2]
    x, y = width / 2, height / 2
    (a, b), (c, d) = inverse
    data = (a, b, x - a * x - b * y, c, d, y - c * x - d * y)
    picture = Image.fromarray(image)
    turned = picture.transform((width, height), Image.Transform.AFFINE, data, BILINEAR, fillcolor=(fill, fill, fill))
    return np.asarray(turned)


def _turn_hue(picture: Image.Image, turn: float) -> Image.Image:
    hsv = np.array(picture.convert("HSV"))
    hsv[:, :, 0] += np.uint8(round(turn * 255) % 256)  # wraps around: hue is a circle
    return Image.fromarray(hsv, "HSV").convert("RGB")


def _padded(image: np.ndarray, top: int, left: int, height: int, width: int, fill: int) -> np.ndarray:
    """The image with its corner at (top, left) of a frame; np.pad takes ten times as long for a small one."""
    frame = np.full((height, width, 3), fill, np.uint8)
    frame[top : top + image.shape[0], left : left + image.shape[1]] = image
    return frame


TRANSFORMS = {
    f.__name__: f
    for f in (
        random_resized_crop,
        random_crop,
        resize,
        centre_crop,
        flip,
        shift,
        rotation,
        shear,
        zoom,
        elastic,
        low_resolution,
        colour_jitter,
        greyscale,
        cutout,
    )
}


def compose(steps: Steps) -> Transform:
    """One function (image, rng) -> image from [(name, {argument: value}), ...], applied in order.

    Raises InputError for a name that is none of TRANSFORMS and for arguments that the transform does not take
    or lacks.
    """
    bound = []
    for name, arguments in steps:
        if name not in TRANSFORMS:
            raise unknown("transform", name, TRANSFORMS)
        function = TRANSFORMS[name]
        try:
            inspect.signature(function).bind(None, None, **arguments)
        except TypeError as error:
            takes = ", ".join(list(inspect.signature(function).parameters)[2:])
            raise InputError(f"transform '{name}': {error}; it takes {takes}.") from error
        bound.append((function, dict(arguments)))

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for function, arguments in bound:
            image = function(image, rng, **arguments)
        return image

    return apply


def varies(transform: Transform, shape: tuple[int, ...]) -> bool:
    """Whether an image of this shape, of noise, becomes more than one where 32 are drawn of it."""
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    first, *others = (partial(transform, noise, np.random.default_rng(seed)) for seed in range(32))
    return any(not np.array_equal(first(), other()) for other in others)


def evaluation(preprocess: Preprocess) -> list[tuple[str, dict[str, Any]]]:
    """The steps of evaluation and prediction: short side to `preprocess.resize`, then the central
    `preprocess.size`."""
    return [("resize", {"size": preprocess.resize}), ("centre_crop", {"size": preprocess.size})]
