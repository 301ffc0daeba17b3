"""One pass over an evaluation set: everything a metric may ask for, on the host, in index order, padding removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from tl import mesh

Collected = dict[str, np.ndarray]


def collect(
    predict: Callable[[Mapping[str, jax.Array]], Mapping[str, jax.Array]],
    batches: Iterable[Mapping[str, Any]],
) -> Collected:
    """`predict(batch) -> {task: outputs}`. Returns {"outputs/TASK": ..., each small field of the batch: ...}.

    Rows with mask False are padding and are dropped; on several hosts every host gets all rows.
    """
    rows: list[Collected] = []
    pending = None
    for batch in batches:
        small = {field: value for field, value in batch.items() if value.ndim <= 2 and not field.startswith("map/")}
        current = {**small, **{f"outputs/{task}": value for task, value in predict(batch).items()}}
        if pending is not None:  # fetched one batch late: the device computes while the host copies
            rows.append(mesh.gather(pending))
        pending = current
    if pending is None:
        return {}
    rows.append(mesh.gather(pending))
    table = {field: np.concatenate([row[field] for row in rows]) for field in rows[0]}
    real = table.pop("mask").astype(bool)
    order = np.argsort(table["index"][real], kind="stable")
    return {field: values[real][order] for field, values in table.items()}
