"""Images in a .npz file."""

from __future__ import annotations

import hashlib
import pathlib
import zipfile

import numpy as np

from tl.data.base import Dataset, Split, from_array
from tl.errors import InputError

# The first suffix that the file has is the split's; a file of plain `x` and `y` is one set, to be cut.
SUFFIXES = {"train": ("_train", ""), "val": ("_val", "_valid", "_validation"), "test": ("_test",)}


def npz(argument: str, task: str) -> Dataset:
    """`npz:FILE` with `x_train`, `y_train` and maybe `x_val`, `y_val`, `x_test`, `y_test`; or `x` and `y`
    alone.

    `x*` is uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3); `y*` has N rows. Class names may stand under
    `classes` or `class_names`. Python objects in the file are not loaded.
    """
    path = pathlib.Path(argument)
    if not path.is_file():
        raise InputError(f"no such file: '{path}' (data=npz:FILE).")
    try:
        with zipfile.ZipFile(path) as archive:
            identity = sorted((m.filename, m.file_size, m.CRC) for m in archive.infolist())
        with np.load(path, allow_pickle=False) as arrays:
            parts = {
                name: _split(arrays, suffix, name, path)
                for name, suffixes in SUFFIXES.items()
                for suffix in [next((s for s in suffixes if f"x{s}" in arrays), None)]
                if suffix is not None
            }
            key = next((k for k in ("classes", "class_names") if k in arrays), None)
            classes = tuple(str(c) for c in arrays[key]) if key else ()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise InputError(f"'{path}' cannot be read as an .npz file of plain arrays: {error}.") from error
    if not parts:
        raise InputError(f"'{path}' has no images: it needs arrays x_train and y_train, or x and y.")
    return Dataset(parts, classes, hashlib.sha256(repr(identity).encode()).hexdigest())


def _split(arrays: np.lib.npyio.NpzFile, suffix: str, name: str, path: pathlib.Path) -> Split:
    if f"y{suffix}" not in arrays:
        raise InputError(f"'{path}' has x{suffix} but no labels y{suffix}.")
    images, labels = arrays[f"x{suffix}"], arrays[f"y{suffix}"]
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))):
        raise InputError(
            f"x{suffix} in '{path}' is {images.dtype} {images.shape}; it must be uint8 of shape (N, H, W), "
            f"(N, H, W, 1) or (N, H, W, 3)."
        )
    if len(images) != len(labels):
        raise InputError(f"'{path}' has {len(images)} images x{suffix} but {len(labels)} labels y{suffix}.")
    return from_array(images, labels, name)
