"""Small pictures, class folders, tar files and arrays for the tests of data."""

from __future__ import annotations

import io
import pathlib
import tarfile

import numpy as np
from PIL import Image


def picture(value: int = 100, size: tuple[int, int] = (10, 8)) -> Image.Image:
    return Image.fromarray(np.full((*size, 3), value, np.uint8))


def fill(folder: pathlib.Path, counts: dict[str, int]) -> pathlib.Path:
    """`counts[path]` PNG files in each folder, with pixel values that tell them apart."""
    for at, (path, count) in enumerate(counts.items()):
        (folder / path).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(at * 20 + i).save(folder / path / f"{i}.png")
    return folder


def save_npz(path: pathlib.Path, n: int = 40, labels: np.ndarray | None = None) -> str:
    images = np.arange(n * 16, dtype=np.uint8).reshape(n, 4, 4)
    np.savez(path, x=images, y=np.arange(n) % 4 if labels is None else labels)
    return f"npz:{path}"


def packed(folder: pathlib.Path, target: pathlib.Path, mode: str = "w") -> str:
    with tarfile.open(target, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        archive.add(folder, arcname=folder.name)
    return f"tar:{target}"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
