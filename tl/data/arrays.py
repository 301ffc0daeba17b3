"""Images or feature vectors in a .npz file."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np

from tl.data.base import Dataset, Split, from_array
from tl.errors import InputError, unknown

# The first suffix that the file has is the split's; a file of plain `x` and `y` is one set, to be cut.
SUFFIXES = {"train": ("_train", ""), "val": ("_val", "_valid", "_validation"), "test": ("_test",)}


def npz(argument: str, task: str) -> Dataset:
    """`npz:FILE` with `x_train`, `y_train` and maybe `x_val`, `y_val`, `x_test`, `y_test`; or `x` and `y`
    alone.

    `x*` is uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3); `y*` has N rows. Class names may stand under
    `classes` or `class_names`. Python objects in the file are not loaded.
    """
    path = pathlib.Path(argument)
    with opened(path, "npz:FILE") as (arrays, identity):
        parts = {
            name: _split(arrays, suffix, name, path)
            for name, suffixes in SUFFIXES.items()
            for suffix in [next((s for s in suffixes if f"x{s}" in arrays), None)]
            if suffix is not None
        }
        classes = _class_names(arrays)
    if not parts:
        raise InputError(f"'{path}' has no images: it needs arrays x_train and y_train, or x and y.")
    return Dataset(parts, classes, hashlib.sha256(repr(identity).encode()).hexdigest())


def features(argument: str, task: str) -> Dataset:
    """`features:FILE#NAME`: vectors `NAME_x` (N, D) of an .npz file, with class labels `NAME_y` (N,), as one set.

    They are float32 or anything that converts to it, all finite. Labels may be any whole numbers: classes are those
    that occur, under their names in `classes` where the file has these, else under their numbers.
    """
    file, _, name = argument.partition("#")
    path = pathlib.Path(file)
    with opened(path, "features:FILE#NAME") as (arrays, identity):
        known = sorted(key[:-2] for key in arrays if key.endswith("_x") and f"{key[:-2]}_y" in arrays)
        if name not in known:
            raise unknown(f"set of features in '{path}'", name, known)
        values, labels, named = arrays[f"{name}_x"], arrays[f"{name}_y"], _class_names(arrays)
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(
            f"{name}_x in '{path}' is {values.dtype} {values.shape}; it must be finite numbers of shape (N, D)."
        )
    if labels.shape != values.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name}_y in '{path}' is {labels.dtype} {labels.shape}; it must be {len(values)} whole numbers."
        )
    numbers, places = np.unique(labels, return_inverse=True)
    rows, names = values.astype(np.float32), [f"{name}/{i}" for i in range(len(values))]
    classes = named if len(named) == len(numbers) else tuple(map(str, numbers))
    split = Split(rows.__getitem__, {"label": places}, names, in_memory=True, width=rows.shape[1])
    return Dataset({"train": split}, classes, hashlib.sha256(repr((name, identity)).encode()).hexdigest())


@contextlib.contextmanager
def opened(path: pathlib.Path, form: str) -> Iterator[tuple[np.lib.npyio.NpzFile, list]]:
    """The arrays of a file, and what tells its content from any other's; InputError for one that cannot be read."""
    if not path.is_file():
        raise InputError(f"no such file: '{path}' (data={form}).")
    try:
        with zipfile.ZipFile(path) as archive:
            identity = sorted((m.filename, m.file_size, m.CRC) for m in archive.infolist())
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays, identity
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{path}' cannot be read as an .npz file of plain arrays: {error}.") from error


def _class_names(arrays: np.lib.npyio.NpzFile) -> tuple[str, ...]:
    key = next((key for key in ("classes", "class_names") if key in arrays), None)
    return tuple(str(name) for name in arrays[key]) if key else ()


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
