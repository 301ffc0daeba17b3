"""One pass over an evaluation set: everything a metric may ask for, on the host, in index order, padding removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from tl import mesh
from tl.pieces import in_pieces

Collected = dict[str, np.ndarray]


def fields_of(
    predict: Callable[..., Mapping[str, jax.Array]],
    features: bool,
    over: jax.sharding.Mesh,
    together: int,
    net: Any,
    memory: Any,
    batch: Mapping[str, jax.Array],
) -> dict[str, jax.Array]:
    """What evaluation gathers of each image: `outputs/TASK`, a method's prediction, and `features` if asked for.

    `together` rows, such as an episode, are predicted together.
    """

    def of(rows: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        outputs = {f"outputs/{task}": value for task, value in predict(net, rows, memory).items()}
        return outputs | ({"features": net.features(rows)} if features else {})

    return in_pieces(of, batch, over, together)


# What the network reads, or a ranking leaves out, in no table of answers.
INPUTS = ("image", "tokens", "triple", "known")


def collect(
    predict: Callable[[Mapping[str, jax.Array]], Mapping[str, jax.Array]],
    batches: Iterable[Mapping[str, Any]],
) -> Collected:
    """`predict(batch) -> {field: rows}`. Returns these fields and each small one of the batch.

    Rows with mask False are padding and are dropped, and where there is no mask none are; on several hosts every host
    gets all rows.
    """
    rows: list[Collected] = []
    pending = None
    for batch in batches:
        small = {
            field: value
            for field, value in batch.items()
            if value.ndim <= 2 and field not in INPUTS and not field.startswith("map/")
        }
        current = {**small, **predict(batch)}
        if pending is not None:  # fetched one batch late: the device computes while the host copies
            rows.append(mesh.gather(pending))
        pending = current
    if pending is None:
        return {}
    rows.append(mesh.gather(pending))
    table = {field: np.concatenate([row[field] for row in rows]) for field in rows[0]}
    real = table.pop("mask", np.ones(len(table["index"]))).astype(bool)
    order = np.argsort(table["index"][real], kind="stable")
    return {field: values[real][order] for field, values in table.items()}


def asked(table: Collected) -> Collected:
    """The rows that are to be answered: of episodes the queries, since the shots are there to learn from."""
    if "query" not in table:
        return table
    queries = table["query"].astype(bool)
    return {field: values[queries] for field, values in table.items() if field != "query"}
