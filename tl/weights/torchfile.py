"""PyTorch checkpoint files (.pth, .pt, .th, .bin) without PyTorch, and without running what they carry.

A checkpoint is a pickle, and a pickle is a program. `_Unpickler` knows a short list of names, each bound to a
function of this file that only takes notes; any other name is refused before anything is called. Tensors are
noted as (storage, offset, size, stride) first and read afterwards, so an optimiser's state beside the weights
costs no memory.

Formats: the zip archive of PyTorch >= 1.6, and the older chain of pickles that starts with a magic number
(torch/serialization.py describes both). The tar archive from before PyTorch 0.1.10 is named and refused.
"""

from __future__ import annotations

import math
import os
import pathlib
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from tl.errors import InputError

MAGIC = 0x1950A86A20F9469CFC6C
# How that number is pickled: LONG1 of ten bytes, little endian.
_MAGIC_BYTES = b"\x8a\x0a" + MAGIC.to_bytes(10, "little")

_DTYPES = {
    "DoubleStorage": np.dtype("f8"),
    "FloatStorage": np.dtype("f4"),
    "HalfStorage": np.dtype("f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("i8"),
    "IntStorage": np.dtype("i4"),
    "ShortStorage": np.dtype("i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
# What stands beside the weights (best_prec1, args, schedules): read over, its contents are of no use here.
_IGNORED = {
    "argparse.Namespace",
    "builtins.complex",
    "builtins.dict",
    "builtins.list",
    "builtins.set",
    "collections.Counter",
    "collections.defaultdict",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "torch.device",
    "torch.float64",
    "torch.float32",
    "torch.float16",
    "torch.bfloat16",
    "torch.int64",
}
# Where training scripts put the weights, in the order in which they are looked for.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    numel: int
    start: int  # elements to skip: very old files save views of a storage


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle._Unpickler):
    """Allows the names below and nothing else; `storages` notes what tensors point into.

    The one written in Python: a damaged file can make the one in C reserve tens of gigabytes for its memo,
    and the pickles are small (the numbers lie beside them).
    """

    def __init__(self, file: BinaryIO, path: pathlib.Path):
        super().__init__(file, encoding="latin1")
        self.path = path
        self.storages: dict[str, _Storage] = {}

        # Made anew for each file: a pickle may set attributes on whatever it is given.
        def tensor(storage, offset, size, stride, *_):
            return _Tensor(storage, offset, tuple(size), tuple(stride))

        class Ignored:
            def __init__(self, *_):
                pass

            def __setstate__(self, _):
                pass

            def __setitem__(self, *_):
                pass

        self.allowed: dict[str, Any] = dict.fromkeys(_IGNORED, Ignored)
        self.allowed |= {f"torch.{kind}": lambda *_, kind=kind: kind for kind in _DTYPES}
        self.allowed |= {
            "collections.OrderedDict": OrderedDict,
            "torch.Size": lambda sizes=(): tuple(sizes),
            "torch._utils._rebuild_tensor": tensor,
            "torch._utils._rebuild_tensor_v2": tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        }

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if full not in self.allowed:
            raise InputError(
                f"'{self.path}' carries code ({full}) and is refused: save the weights alone "
                "(torch.save(model.state_dict(), ...), or as safetensors) and give that file."
            )
        return self.allowed[full]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, numel, *view = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown persistent id '{kind}'")
        start = view[0][1] if view and view[0] is not None else 0
        storage = _Storage(_DTYPES[storage_type()], str(key), int(numel), int(start))
        self.storages.setdefault(storage.key, storage)
        return storage


def is_legacy(start: bytes) -> bool:
    """Whether a file that begins with `start` is a chain of pickles with PyTorch's magic number."""
    return start.startswith(b"\x80") and _MAGIC_BYTES in start[:32]


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The state dict of a checkpoint: name -> C-contiguous array in its own dtype (bfloat16: ml_dtypes).

    Wrappers (`state_dict`, `model`, `net`, ...) are looked through; entries that are not tensors are left
    out. Raises InputError for code, a broken or truncated file, and a file without a state dict.
    """
    try:
        with open(path, "rb") as file:
            if is_legacy(file.peek(32)):
                return _read_legacy(file, path)
            with zipfile.ZipFile(file) as archive:
                return _read_zip(archive, path)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way at all
        detail = f"{type(error).__name__}: {error}".rstrip(": ")
        raise InputError(f"'{path}' is broken or truncated ({detail}): fetch or save it again.") from error


def _read_zip(archive: zipfile.ZipFile, path: pathlib.Path) -> dict[str, np.ndarray]:
    members = set(archive.namelist())
    root = next(name for name in sorted(members) if name.endswith("data.pkl"))[: -len("data.pkl")]
    big = f"{root}byteorder" in members and archive.read(f"{root}byteorder") == b"big"
    with archive.open(f"{root}data.pkl") as file:
        state = _find_state(_Unpickler(file, path).load(), path)  # type: ignore[arg-type]

    def storage(key: str, dtype: np.dtype) -> np.ndarray:
        return np.frombuffer(archive.read(f"{root}data/{key}"), dtype.newbyteorder(">" if big else "<"))

    return _materialise(state, storage, path)


def _read_legacy(file: BinaryIO, path: pathlib.Path) -> dict[str, np.ndarray]:
    magic, _version, system = (_Unpickler(file, path).load() for _ in range(3))
    if magic != MAGIC:
        raise InputError(f"'{path}' is a pickle, but no PyTorch checkpoint: give the file that torch.save wrote.")
    order = "<" if system.get("little_endian", True) else ">"
    unpickler = _Unpickler(file, path)
    state = _find_state(unpickler.load(), path)
    data: dict[str, np.ndarray] = {}
    for key in map(str, _Unpickler(file, path).load()):
        dtype = unpickler.storages[key].dtype.newbyteorder(order)
        numel = int.from_bytes(_exactly(file, 8), "little" if order == "<" else "big")
        data[key] = np.frombuffer(_exactly(file, numel * dtype.itemsize), dtype)
    return _materialise(state, lambda key, _: data[key], path)


def _exactly(file: BinaryIO, count: int) -> bytes:
    left = os.fstat(file.fileno()).st_size - file.tell()
    if count > left:  # asked before reading: read() would first reserve whatever a damaged length says
        raise EOFError(f"{count} bytes are promised and {left} are there")
    return file.read(count)


def _find_state(value: Any, path: pathlib.Path) -> dict[str, _Tensor]:
    """The first wrapper that holds tensors, else the tensors at hand, else the only entry that holds some."""
    if not isinstance(value, dict):
        raise InputError(f"'{path}' holds a {type(value).__name__} and no state dict: save model.state_dict().")
    inner = {key: child for key, child in value.items() if isinstance(child, dict) and isinstance(key, str)}
    with_tensors = [key for key, child in inner.items() if _has_tensors(child)]
    chosen = next((key for key in _WRAPPERS if key in with_tensors), None)
    if chosen is None and not _tensors(value) and len(with_tensors) == 1:
        chosen = with_tensors[0]
    if chosen is not None:
        return _find_state(inner[chosen], path)
    found = _tensors(value)
    if not found:
        keys = ", ".join(map(str, list(value)[:12])) or "none"
        raise InputError(f"'{path}' holds no state dict (its top-level keys: {keys}): save model.state_dict() alone.")
    return found


def _tensors(value: Mapping) -> dict[str, _Tensor]:
    return {key: item for key, item in value.items() if isinstance(item, _Tensor) and isinstance(key, str)}


def _has_tensors(value: Mapping, depth: int = 0) -> bool:
    if _tensors(value):
        return True
    return depth < 3 and any(_has_tensors(child, depth + 1) for child in value.values() if isinstance(child, dict))


def _materialise(
    state: dict[str, _Tensor], storage: Callable[[str, np.dtype], np.ndarray], path: pathlib.Path
) -> dict[str, np.ndarray]:
    read: dict[str, np.ndarray] = {}  # several tensors may share one storage
    result = {}
    for name, tensor in state.items():
        key = tensor.storage.key
        if key not in read:
            read[key] = storage(key, tensor.storage.dtype)
        result[name] = _strided(read[key], tensor, f"'{path}': tensor '{name}'")
    return result


def _strided(data: np.ndarray, tensor: _Tensor, where: str) -> np.ndarray:
    offset = tensor.offset + tensor.storage.start
    numbers = (offset, *tensor.size, *tensor.stride)
    # as_strided checks nothing: without this, a forged stride reads whatever lies in memory.
    if len(tensor.size) != len(tensor.stride) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise InputError(f"{where} has an impossible shape {tensor.size} with strides {tensor.stride}.")
    dtype = data.dtype.newbyteorder("=")
    if math.prod(tensor.size) == 0:
        return np.zeros(tensor.size, dtype)
    last = offset + sum((n - 1) * s for n, s in zip(tensor.size, tensor.stride, strict=True))
    if last >= len(data):
        raise InputError(f"{where} reaches beyond its storage ({last + 1} of {len(data)} elements): truncated file.")
    strides = [s * data.itemsize for s in tensor.stride]
    view = np.lib.stride_tricks.as_strided(data[offset:], tensor.size, strides)
    return np.array(view, dtype, order="C")
