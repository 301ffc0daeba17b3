"""Splits -> batches on the mesh. A training batch is a function of (seed, step), on any number of hosts."""

from __future__ import annotations

import collections
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from tl import mesh as meshes
from tl.data.base import Split
from tl.data.order import Order, endless, order
from tl.data.transforms import Transform
from tl.errors import InputError

Batch = dict[str, Any]  # field -> numpy rows, or one row

AHEAD = 4  # batches made ahead on the host
KEEP_BYTES = 512 * 2**20  # an evaluation split up to this size stays decoded in memory


def train_stream(
    split: Split,
    transform: Transform,
    *,
    batch_size: int,
    seed: int,
    name: str = "",
    shuffle: bool = True,
    places: Order | None = None,
    process_index: int | None = None,
    process_count: int | None = None,
) -> grain.MapDataset:
    """An endless data set whose element [step] is this host's rows of the batch of that step.

    Rows: `image` uint8 (B, H, W, 3), or the split's own field, every label field, `index` int32 (position in
    `split`). Epochs are shuffled anew and follow each other without a gap, so a batch may span two, and the split
    may be smaller than a batch. `name` gives streams with one seed different orders. The hosts' rows, one after the
    other, are the same global batch for any number of hosts. For a stream that is replicated, not sharded, pass
    process_count=1. Rows with a field `domain` come from each domain in turn, see order.Balanced; `places` is any
    other order.
    """
    index = jax.process_index() if process_index is None else process_index
    count = jax.process_count() if process_count is None else process_count
    if batch_size % count:
        raise InputError(f"batch_size={batch_size} is not divided by the {count} hosts; take a multiple.")
    labels = dict(split.labels)

    def load(i: int) -> Batch:
        return {split.field: split.load(i), **{k: v[i] for k, v in labels.items()}, "index": np.int32(i)}

    def augment(record: Batch, rng: np.random.Generator) -> Batch:
        return {**record, split.field: transform(record[split.field], rng)}

    rows = order(len(split), seed, name, shuffle=shuffle, domain=labels.get("domain"), places=places)
    # The random numbers of `augment` depend on a row's place in the endless order, so hosts must be cut out
    # after it: blocks of consecutive rows, dealt to the hosts in turn.
    blocks = rows.map(load).random_map(augment).batch(batch_size // count, batch_fn=_stack)
    return blocks[index::count]


def batches(
    streams: Mapping[str, grain.MapDataset],
    mesh: Mesh,
    start_step: int = 0,
    *,
    shardings: Mapping[str, NamedSharding] | None = None,
    threads: int = 4,
) -> Generator[dict[str, dict[str, jax.Array]], None, None]:
    """{stream: {field: global array}} from `start_step` on, until the shortest stream ends.

    Batches are made ahead by `threads` threads; 0 makes each when it is asked for (see threads_for).
    Each stream is split over the mesh by rows unless `shardings` names another sharding for it.
    """
    shardings = {name: meshes.batch_sharding(mesh) for name in streams} | dict(shardings or {})
    names = list(streams)
    shortest = min(len(stream) for stream in streams.values())
    # grain zips equal lengths only, and those of endless streams depend on their batch sizes
    parts = [streams[name].slice(slice(start_step, shortest)) for name in names]
    zipped = grain.experimental.ZipMapDataset(parts)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD if threads else 0)
    ready: collections.deque = collections.deque()
    for rows in zipped.to_iter_dataset(options):
        ready.append({name: meshes.put(row, shardings[name]) for name, row in zip(names, rows, strict=True)})
        if len(ready) > 1:  # one batch is on its way to the device while the step before it is computed
            yield ready.popleft()
    yield from ready


class EvalBatches:
    """A finite, repeatable pass over a split in order; see eval_batches. `size` is the number of images.

    `split` and `transform` are what the rows are made of, None where they are no images.
    """

    split: Split | None = None
    transform: Transform | None = None

    def __init__(self, rows: grain.MapDataset, size: int, put: Callable[[Batch], Any], threads: int, keep: bool):
        self.size = size
        self._rows, self._put, self._threads, self._keep = rows, put, threads, keep
        self._kept: list[Batch] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, jax.Array]]:
        if self._kept is not None:
            yield from map(self._put, self._kept)
            return
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=AHEAD if self._threads else 0)
        kept: list[Batch] | None = [] if self._keep else None
        for rows in self._rows.to_iter_dataset(options):
            if kept is not None:
                kept.append(rows)
                if sum(values.nbytes for values in rows.values()) * len(self) > KEEP_BYTES:
                    kept = None
            yield self._put(rows)
        self._kept = kept


def eval_batches(
    split: Split,
    transform: Transform,
    batch_size: int,
    mesh: Mesh,
    *,
    threads: int | None = None,
    process_index: int | None = None,
    process_count: int | None = None,
    put: Callable[[Batch], Any] | None = None,
) -> EvalBatches:
    """All images of `split` once, in order, as {field: global array} of `batch_size` rows each.

    Beside `image`, the labels and `index` there is `mask` (B,) bool: the last batch is filled up with rows of
    `mask` False and zeros. Iterating again does not decode again when all images take at most
    KEEP_BYTES. `transform` draws from a generator of the image's index, so a random one gives the same images
    in every pass.
    """

    def load(i: int) -> Batch:
        row = transform(split.load(i), np.random.default_rng(i))
        return {split.field: row, **{k: v[i] for k, v in split.labels.items()}, "index": np.int32(i)}

    def read(start: int, stop: int) -> Batch:
        return _stack([load(i) for i in range(start, stop)])

    found = passes(
        read,
        len(split),
        batch_size,
        mesh,
        threads=threads_for(split) if threads is None else threads,
        process_index=process_index,
        process_count=process_count,
        put=put,
    )
    found.split, found.transform = split, transform
    return found


def arriving(split: Split, transform: Transform, batch_size: int, seed: int, mesh: Mesh) -> Iterator[Batch]:
    """Every image of `split` once, in an order drawn by `seed`, as {field: global array}.

    Nothing fills up the last batch, which counts in what is learnt from it: it is shorter, and whole on each device.
    """
    # One after the other as the order has them, not as many of each domain.
    places = endless(len(split), seed, "arriving")
    how = {"batch_size": batch_size, "seed": seed, "name": "arriving", "places": places}
    stream = partial(train_stream, split, transform, **how)
    full, rest = divmod(len(split), batch_size)
    if full:
        own = {"rows": stream().slice(slice(0, full))}
        yield from (batch["rows"] for batch in batches(own, mesh, threads=threads_for(split)))
    if rest:
        last: Any = stream(process_index=0, process_count=1)[full]
        yield meshes.put({field: values[:rest] for field, values in last.items()}, meshes.replicated(mesh))


def passes(
    read: Callable[[int, int], Batch],
    size: int,
    batch_size: int,
    mesh: Mesh,
    *,
    threads: int,
    process_index: int | None = None,
    process_count: int | None = None,
    put: Callable[[Batch], Any] | None = None,
    keep: bool = True,
) -> EvalBatches:
    """`read(start, stop) -> {field: rows}` of `size` rows, as padded batches on the mesh; see eval_batches."""
    index = jax.process_index() if process_index is None else process_index
    count = jax.process_count() if process_count is None else process_count
    if batch_size % count:
        raise InputError(f"batch_size={batch_size} is not divided by the {count} hosts; take a multiple.")
    local = batch_size // count
    sharding = meshes.batch_sharding(mesh)

    def block(number: int) -> Batch:
        start = number * local
        real = max(0, min(local, size - start))
        rows = read(start, start + real) if real else read(0, 1)  # padding alone still needs the shapes
        rows = {key: _filled(values[:real], local) for key, values in rows.items()}
        return {**rows, "mask": np.arange(start, start + local) < size}

    rows = grain.MapDataset.range(count * -(-size // batch_size)).map(block)[index::count]
    return EvalBatches(rows, size, put or (lambda batch: meshes.put(batch, sharding)), threads, keep)


def threads_for(*splits: Split) -> int:
    """Threads for reading: 4 where there is decoding to do, 1 where images only come out of memory, under the GIL.

    Measured at 32x32 with flip and shift: 0 to 4 threads cost the same CPU time an image. One is enough for batches to
    be made while the main thread waits for the device.
    """
    return 1 if all(split.in_memory for split in splits) else 4


def _filled(values: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((n - len(values), *values.shape[1:]), values.dtype)])


def _stack(records: Sequence[Batch]) -> Batch:
    shapes = {record["image"].shape for record in records if "image" in record}
    if len(shapes) > 1:
        raise InputError(
            f"images of different sizes in one batch, such as {sorted(shapes)[:2]}: end the transforms "
            f"with one that sets the size (resize and centre_crop, random_crop, random_resized_crop)."
        )
    return {key: np.stack([record[key] for record in records]) for key in records[0]}
