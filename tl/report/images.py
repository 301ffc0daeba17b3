"""Pictures of pictures: grids of a batch, and images small enough to lie inside a page."""

from __future__ import annotations

import base64
import io
import math
import os
import pathlib

import numpy as np
from matplotlib import colormaps
from PIL import Image

from tl.report.files import write_atomic

GAP = 2  # pixels between the images of a grid


def grid(images: np.ndarray, columns: int = 8) -> np.ndarray:
    """uint8 (N, H, W, 3), N > 0 -> one uint8 picture, row by row, grey where the last row has no image."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise ValueError(f"a grid takes uint8 images (N, H, W, 3), not {images.dtype} {images.shape}")
    count, height, width, _ = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    picture = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 128, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        picture[top : top + height, left : left + width] = image
    return picture


def save_png(path: os.PathLike | str, picture: np.ndarray) -> pathlib.Path:
    """Write a uint8 (H, W, 3) or (H, W, 4) picture as a whole file."""
    return write_atomic(path, _encode(Image.fromarray(np.asarray(picture)), "PNG"))


def data_uri(picture: np.ndarray, longest: int, *, exact: bool = False) -> str:
    """A uint8 picture as a `data:` address, shrunk to `longest` pixels: PNG when tiny or `exact`, else JPEG."""
    image = Image.fromarray(np.asarray(picture))
    if max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    # JPEG smears drawings of a few pixels, and does not know transparency.
    kind = "PNG" if exact or max(image.size) <= 64 or image.mode == "RGBA" else "JPEG"
    return f"data:image/{kind.lower()};base64,{base64.b64encode(_encode(image, kind)).decode()}"


def heat(values: np.ndarray, rgb: tuple[int, int, int], scale: int) -> np.ndarray:
    """(H, W) in 0..1 -> uint8 (H*scale, W*scale, 4): one colour, the value as its opacity."""
    picture = np.empty((*values.shape, 4), np.uint8)
    picture[..., :3] = rgb
    picture[..., 3] = np.round(255 * np.clip(values, 0, 1))
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def overlay(image: np.ndarray, values: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """uint8 (H, W, 3) under a map (h, w) in 0..1, enlarged smoothly, as colours from blue to red -> the same, uint8."""
    height, width = image.shape[:2]
    enlarged = Image.fromarray(np.asarray(values, np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    heat = colormaps["turbo"](np.asarray(enlarged))[..., :3] * 255
    return np.round((1 - opacity) * image + opacity * heat).astype(np.uint8)


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, **({"quality": 82} if kind == "JPEG" else {}))
    return buffer.getvalue()
