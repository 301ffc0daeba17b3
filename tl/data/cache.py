"""Maps of a frozen network in place of images: rows of an array, in the same order as the images would come."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import filelock
import grain
import jax
import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from jax.sharding import Mesh

from tl.data import streams
from tl.data.base import Split
from tl.data.order import Order, order

Rows = Mapping[str, Any]  # field -> (N, ...) array, or Stored


def cached_stream(
    rows: Rows, *, batch_size: int, seed: int, name: str = "", views: int = 1, places: Order | None = None
) -> grain.MapDataset:
    """`streams.train_stream` over arrays with one row an image, view by view: the same rows in the same order."""
    count, index = jax.process_count(), jax.process_index()
    local = batch_size // count
    count_once = len(rows["index"]) // views
    found = order(count_once, seed, name, views=views, domain=rows.get("domain"), places=places)

    def block(chosen: np.ndarray) -> streams.Batch:
        return {field: values[chosen] for field, values in rows.items()}

    return found.batch(local, batch_fn=np.asarray).map(block)[index::count]


def cached_batches(rows: Rows, batch_size: int, mesh: Mesh) -> streams.EvalBatches:
    """`streams.eval_batches` over arrays with one row an image."""

    def read(start: int, stop: int) -> streams.Batch:
        return {field: values[start:stop] for field, values in rows.items()}

    return streams.passes(read, len(rows["index"]), batch_size, mesh, threads=1, keep=False)


class Stored:
    """(N, ...) rows in an array_record file, read when they are asked for."""

    def __init__(self, file: pathlib.Path, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.nbytes = int(np.prod(shape)) * self.dtype.itemsize
        self._source = ArrayRecordDataSource([str(file)])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        numbers = range(*chosen.indices(len(self))) if isinstance(chosen, slice) else map(int, chosen)
        found = self._source.__getitems__(list(numbers))
        return np.stack([np.frombuffer(row, self.dtype).reshape(self.shape[1:]) for row in found])


def store(folder: pathlib.Path, name: str, parts: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Write tables of the map `map/NAME` and small fields, one after the other, as one table in `folder`.

    The folder appears when it is whole: what was cut off before counts as none. Of several processes that want the same
    one makes it, while the others wait.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(folder.name + ".lock")
    with filelock.FileLock(lock):
        if not folder.is_dir():
            _write(folder, name, parts)
    lock.unlink(missing_ok=True)  # whoever waits for it finds the folder


def _write(folder: pathlib.Path, name: str, parts: Iterable[Mapping[str, np.ndarray]]) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    writer = ArrayRecordWriter(str(partial / "map.array_record"), "group_size:1,uncompressed")
    small: list[dict[str, np.ndarray]] = []
    shape, dtype = (), ""
    for part in parts:
        rows = np.ascontiguousarray(part[f"map/{name}"])
        shape, dtype = rows.shape[1:], rows.dtype.name
        for row in rows:
            writer.write(row.tobytes())
        small.append({field: values for field, values in part.items() if not field.startswith("map/")})
    writer.close()
    fields = {field: np.concatenate([table[field] for table in small]) for field in small[0]}
    np.savez(partial / "fields.npz", allow_pickle=False, **fields)
    (partial / "map.json").write_text(json.dumps({"name": name, "shape": shape, "dtype": dtype}))
    partial.replace(folder)


def stored(folder: pathlib.Path, memory: bool) -> dict[str, Any] | None:
    """The table that `store` wrote, its map read into memory or not; None where there is none."""
    if not folder.is_dir():
        return None
    about = json.loads((folder / "map.json").read_text())
    with np.load(folder / "fields.npz", allow_pickle=False) as held:
        fields = dict(held)
    shape = (len(fields["index"]), *about["shape"])
    rows: Any = Stored(folder / "map.array_record", shape, about["dtype"])
    return {**fields, f"map/{about['name']}": rows[:] if memory else rows}


def identity(split: Split) -> str:
    """A digest of which images of its source a split holds, in which order, and of their labels."""
    digest = hashlib.sha256("\0".join([split.origin, *split.names]).encode())
    for task, values in split.labels.items():
        digest.update(f"{task} {values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()
