"""Maps of a frozen network in place of images: rows of an array, in the same order as the images would come."""

from __future__ import annotations

from collections.abc import Mapping

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from tl.data import streams


def cached_stream(rows: Mapping[str, np.ndarray], *, batch_size: int, seed: int, name: str = "") -> grain.MapDataset:
    """`streams.train_stream` over arrays with one row an image: the same rows in the same order."""
    count, index = jax.process_count(), jax.process_index()
    local = batch_size // count
    order = streams.order(len(rows["index"]), seed, name)

    def block(chosen: np.ndarray) -> streams.Batch:
        return {field: values[chosen] for field, values in rows.items()}

    return order.batch(local, batch_fn=np.asarray).map(block)[index::count]


def cached_batches(rows: Mapping[str, np.ndarray], batch_size: int, mesh: Mesh) -> streams.EvalBatches:
    """`streams.eval_batches` over arrays with one row an image."""

    def read(start: int, stop: int) -> streams.Batch:
        return {field: values[start:stop] for field, values in rows.items()}

    return streams.passes(read, len(rows["index"]), batch_size, mesh, threads=1, keep=False)
