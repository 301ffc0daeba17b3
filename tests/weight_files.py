"""Weight files for tests: PyTorch checkpoints with the opcodes of torch.save, but without torch."""

from __future__ import annotations

import io
import pathlib
import pickle
import zipfile
from collections import OrderedDict
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tl.weights import torchfile

BF16 = np.dtype(ml_dtypes.bfloat16)


class Name(NamedTuple):
    """What torch.save writes as a GLOBAL opcode; callable only because pickle asks for that."""

    module: str
    name: str

    def __call__(self):
        raise AssertionError


class Storage(NamedTuple):
    """A torch.<kind>: flat data under a key of the file."""

    kind: str
    key: str
    data: np.ndarray


class Tensor:
    """A view of a storage; offset and stride in elements."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple, rebuild="_rebuild_tensor_v2"):
        self.storage, self.args, self.rebuild = storage, (offset, size, stride), rebuild


class Pickler(pickle._Pickler):  # the one in Python, whose `save` can be extended
    """Writes the same opcodes as torch.save; `view` adds the old format's sixth field of a storage."""

    def __init__(self, file, protocol: int, view: bool):
        super().__init__(file, protocol)
        self.view = view

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            pid = ("storage", Name("torch", obj.kind), obj.key, "cuda:0", obj.data.size)
            return (*pid, None) if self.view else pid
        return None

    def reducer_override(self, obj):
        if isinstance(obj, Tensor):
            more = (False, OrderedDict()) if obj.rebuild.endswith("v2") else ()
            return Name("torch._utils", obj.rebuild), (obj.storage, *obj.args, *more)
        return NotImplemented

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())  # type: ignore[attr-defined]
        else:
            super().save(obj, save_persistent_id)  # type: ignore[misc]


def _dump(value: Any, protocol: int = 2, view: bool = False) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol, view).dump(value)
    return file.getvalue()


def _storages(value: Any) -> list[Storage]:
    if isinstance(value, Tensor):
        return [value.storage]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return list({s.key: s for v in values for s in _storages(v)}.values())


def write_zip(path: pathlib.Path, value: Any) -> None:
    """As torch.save does since 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", _dump(value))
        archive.writestr("archive/byteorder", "little")
        for storage in _storages(value):
            archive.writestr(f"archive/data/{storage.key}", storage.data.tobytes())
        archive.writestr("archive/version", "3\n")


def write_legacy(path: pathlib.Path, value: Any) -> None:
    """As torch.save did before 1.6, and with _use_new_zipfile_serialization=False."""
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    storages = _storages(value)
    body = b"".join(map(_dump, (torchfile.MAGIC, 1001, system))) + _dump(value, view=True)
    body += _dump([storage.key for storage in storages])
    for storage in storages:
        body += storage.data.size.to_bytes(8, "little") + storage.data.tobytes()
    path.write_bytes(body)


def tensor(kind: str, key: str, data: np.ndarray) -> Tensor:
    """A tensor that is the whole of its own storage."""
    strides = tuple(s // data.itemsize for s in data.strides)
    return Tensor(Storage(kind, key, data.reshape(-1)), 0, data.shape, strides)


def checkpoint() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Tensors of every kind as torch would save them, and what must come out."""
    grid = np.arange(48, dtype=np.float32).reshape(6, 8)
    shared = Storage("FloatStorage", "7", grid.reshape(-1))
    half, brain = np.array([0.5, -2, 3], np.float16), np.array([1, -0.5, 256, 3], BF16)
    state = OrderedDict(
        {
            "module.whole": Tensor(shared, 0, (6, 8), (8, 1), rebuild="_rebuild_tensor"),
            "module.turned": Tensor(shared, 1, (2, 3), (1, 16)),  # grid.T[1:3, ::2]
            "module.piece": Tensor(shared, 19, (2,), (1,)),
            "module.spread": Tensor(shared, 5, (3, 2), (0, 0)),  # expand(): one element seen six times
            "module.half": tensor("HalfStorage", "1", half),
            "module.brain": tensor("BFloat16Storage", "2", brain),
            "module.count": tensor("LongStorage", "3", np.array(2**40 + 1, np.int64)),
            "module.none": Tensor(shared, 0, (0, 3), (3, 1)),
            "module.mask": tensor("BoolStorage", "4", np.array([True, False])),
        }
    )
    wanted = {
        "whole": grid,
        "turned": grid.T[1:3, ::2],
        "piece": grid[2, 3:5],
        "spread": np.full((3, 2), 5, np.float32),
        "half": half,
        "brain": brain,
        "count": np.array(2**40 + 1, np.int64),
        "none": np.zeros((0, 3), np.float32),
        "mask": np.array([True, False]),
    }
    return state, wanted


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Equal names, dtypes and values, stored row by row."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].flags.c_contiguous, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def flat_tree(value: float = 1.0, classes: int = 3) -> dict[str, np.ndarray]:
    """A small tree as the project's own files hold it, proportional to `value` but for one constant."""
    return {
        "params/backbone/stem/conv/kernel": np.full((3, 3, 3, 2), value, np.float32),
        "params/head/kernel": np.arange(2 * classes, dtype=np.float32).reshape(2, classes) * value,
        "stats/backbone/stem/bn/mean": np.array([value, 2], np.float32),
    }


def seed_hub_cache(folder: pathlib.Path, repo: str, filename: str, content: bytes) -> pathlib.Path:
    """A file in the hub's cache as its client lays it out."""
    root = folder / f"models--{repo.replace('/', '--')}"
    path = root / "snapshots" / ("a" * 40) / filename
    for parent in (path.parent, root / "refs"):
        parent.mkdir(parents=True, exist_ok=True)
    (root / "refs/main").write_text("a" * 40)
    path.write_bytes(content)
    return path
