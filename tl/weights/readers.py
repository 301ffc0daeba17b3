"""Weight files to arrays and back: one `read` for all formats, chosen by content and not by name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import statistics
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from tl.errors import InputError
from tl.weights import torchfile

OWN = "tl"  # metadata["format"] of the files that `write` makes

_NAMES = {
    np.dtype("f8"): "F64",
    np.dtype("f4"): "F32",
    np.dtype("f2"): "F16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype("i8"): "I64",
    np.dtype("i4"): "I32",
    np.dtype("i2"): "I16",
    np.dtype("i1"): "I8",
    np.dtype("u4"): "U32",
    np.dtype("u1"): "U8",
    np.dtype("?"): "BOOL",
}
# Put there by torch.nn.DataParallel / DistributedDataParallel and torch.compile around the whole network.
_PREFIXES = ("module.", "_orig_mod.")


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(name -> array, metadata) of a safetensors, PyTorch (zip, legacy), .npz or GloVe file, told apart by content.

    Arrays keep their file's names (less `module.` prefixes), layout and dtype; metadata is empty but for
    safetensors. Raises InputError for a missing, truncated, unknown or refused file (pickles that carry
    code).
    """
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(f"cannot read the weights '{path}' ({error.strerror}): give an existing file.") from error
    if start.startswith(b"PK"):
        return _read_archive(path), {}
    if torchfile.is_legacy(start):
        return _without_prefix(torchfile.read(path)), {}
    if start[8:9] == b"{":
        tensors, metadata = _read_safetensors(path)
        return (tensors if is_own(metadata) else _without_prefix(tensors)), metadata
    if re.match(rb"\S+( -?\d+\.?\d*(e-?\d+)?){8}", start):
        return read_glove(path), {}
    raise InputError(f"cannot read the weights '{path}': {_what(start)}.")


def is_own(metadata: Mapping[str, str]) -> bool:
    """Whether `read`'s metadata are of a file that `write` made: its names are then a flat tree's already."""
    return metadata.get("format") == OWN


def _what(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if start[257:262] == b"ustar":
        return (
            "it is a tar checkpoint of the first PyTorch releases; take the newer upload of the same weights "
            "(torchvision's current URL, or hf:timm/...), or save it again with a current PyTorch"
        )
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer and not the file itself (git lfs pull fetches it)"
    if start.lstrip()[:1] == b"<":
        return "it is a web page (a failed download or a login form)"
    if start.startswith(b"\x89HDF"):
        return "it is an HDF5 file (Keras), which is not supported; convert it to safetensors"
    if start.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "it is a bare pickle, which is never loaded; save it with torch.save or as safetensors"
    return "it is truncated, or not a safetensors, PyTorch (.pth) or .npz file"


def _read_archive(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            return _without_prefix(torchfile.read(path))
        if names and all(name.endswith(".npy") for name in names):
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"'{path}' is broken or truncated ({error}): fetch or save it again.") from error
    except ValueError as error:  # numpy's word for an array of Python objects
        raise InputError(f"'{path}' carries pickled objects and is refused: save plain arrays ({error}).") from error
    raise InputError(f"'{path}' is a zip archive, but neither a PyTorch checkpoint nor .npz arrays.")


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise InputError(f"'{path}' is a broken or truncated safetensors file ({error}): fetch it again.") from error


def _without_prefix(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for prefix in _PREFIXES * 2:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    return tensors


def _parted(line: str, width: int) -> tuple[str, str]:
    """A word, and the `width` numbers behind it."""
    word, *numbers = line.rsplit(" ", width)
    return word, " ".join(numbers)


def read_glove(path: pathlib.Path) -> dict[str, np.ndarray]:
    """GloVe's own format, `word number number ...` a line, as arrays `words`, `vectors`; a word may hold spaces."""
    lines = path.read_bytes().decode("utf-8", "replace").removesuffix("\n").split("\n")
    width = statistics.mode(line.count(" ") for line in lines)
    words, vectors = zip(*(_parted(line.rstrip("\r"), width) for line in lines), strict=True)
    try:
        rows = [np.array(row.split(" "), np.float32) for row in vectors]
        return {"words": np.array(words), "vectors": np.stack(rows)}
    except ValueError as error:
        raise InputError(f"'{path}' is no file of word vectors ({error}): a line is a word and its numbers.") from error


def write(path: str | os.PathLike, flat: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Writes a flat tree as safetensors with `metadata` (str -> str; "format" is set here), all or nothing.

    The same tree and metadata give the same bytes: safetensors' own writer shuffles the metadata, which would
    make the digests of equal runs differ. A crash leaves the old file, or none, in place.
    """
    path = pathlib.Path(path)
    metadata = {**metadata, "format": OWN}
    bad = [key for key, value in metadata.items() if not isinstance(value, str)]
    if bad:
        raise TypeError(f"metadata of a weight file must be strings; these are not: {bad}")
    arrays = {name: np.asarray(value, order="C") for name, value in flat.items()}
    # Widest first, as safetensors does, so that every array is aligned for its own type.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        array, start = arrays[name], end
        end += array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                file.write(_bytes(arrays[name]))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _bytes(array: np.ndarray) -> memoryview:
    # Through uint8, because bfloat16 has no buffer format of its own.
    return np.asarray(array, order="C").reshape(math.prod(array.shape)).view(np.uint8).data


def file_sha256(path: str | os.PathLike) -> str:
    """The sha256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(flat: Mapping[str, Any]) -> str:
    """The sha256 of a flat tree: names, dtypes, shapes and bytes, in name order."""
    digest = hashlib.sha256()
    for name in sorted(flat):
        array = np.asarray(flat[name])
        digest.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()
