"""Maps of a frozen network in place of images: rows of an array, in the same order as the images would come."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
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
ROWS, ABOUT = "map.array_record", "map.json"


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
    """(N, ...) rows at `places` of array_record files, one after the other, read when they are asked for."""

    def __init__(self, files: Sequence[pathlib.Path], places: np.ndarray, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = (len(places), *shape), np.dtype(dtype)
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self._places = places
        self._source = ArrayRecordDataSource([str(file) for file in files])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        found = self._source.__getitems__(self._places[chosen].tolist())
        return np.stack([np.frombuffer(row, self.dtype).reshape(self.shape[1:]) for row in found])


def store(folder: pathlib.Path, names: Sequence[str], parts: Callable[[list[int]], Iterable[np.ndarray]]) -> None:
    """Add the rows that `folder` does not hold yet; `parts(numbers)` gives those of `names`, some at a time, in order.

    What is added appears when it is whole: what was cut off before counts as none. Of several processes that want the
    same rows one makes them, while the others wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        held, tables = _held(folder)
        lacking = [i for i, name in enumerate(names) if name not in held]
        if lacking:
            _write(folder / f"{len(tables):04d}", [names[i] for i in lacking], parts(lacking))


def _write(table: pathlib.Path, names: list[str], parts: Iterable[np.ndarray]) -> None:
    partial = table.with_name(table.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    writer = ArrayRecordWriter(str(partial / ROWS), "group_size:1,uncompressed")
    count, shape, dtype = 0, (), ""
    for part in parts:
        rows = np.ascontiguousarray(part)
        count, shape, dtype = count + len(rows), rows.shape[1:], rows.dtype.name
        for row in rows:
            writer.write(row.tobytes())
    writer.close()
    assert count == len(names), f"{count} rows of {len(names)}"
    (partial / ABOUT).write_text(json.dumps({"shape": shape, "dtype": dtype, "names": names}))
    partial.replace(table)


def _held(folder: pathlib.Path) -> tuple[dict[str, int], list[pathlib.Path]]:
    """The place of every row that lies in `folder`, and its tables, which hold them one after the other."""
    tables = sorted(about.parent for about in folder.glob(f"*[0-9]/{ABOUT}"))
    names = [name for table in tables for name in json.loads((table / ABOUT).read_text())["names"]]
    return {name: place for place, name in enumerate(names)}, tables


def stored(folder: pathlib.Path, names: Sequence[str], memory: bool) -> np.ndarray | Stored | None:
    """The rows of `names`, read into memory or not; None where `folder` does not hold them all."""
    held, tables = _held(folder)
    if not all(name in held for name in names):
        return None
    about = json.loads((tables[0] / ABOUT).read_text())
    places = np.array([held[name] for name in names], np.int64)
    rows = Stored([table / ROWS for table in tables], places, tuple(about["shape"]), about["dtype"])
    return rows[:] if memory else rows


def identity(split: Split) -> str:
    """A digest of which images of its source a split holds, in which order, and of their labels."""
    digest = hashlib.sha256("\0".join([split.origin, *split.names]).encode())
    for task, values in split.labels.items():
        digest.update(f"{task} {values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()
