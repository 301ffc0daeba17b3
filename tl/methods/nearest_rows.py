"""Rows of unseen classes from those of the nearest seen ones, or by kernel ridge regression (Saunders et al. 1998).

row = mean of R over the nearest classes;  with ridge: row = mean R + k (K + ridge I)^-1 (R - mean R)

R are the seen classes' rows; near is by the cosine of features, which is the kernel K too (equation 8 of that paper,
ICML). Nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tl import contrast, graphs
from tl.batches import Batch
from tl.methods.base import Method, within
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, neighbours: int = 3, ridge: float = 0.0, nodes: np.ndarray) -> Method:
    """The mean over so many `neighbours`, by the cosine of their features; with `ridge` above 0 all classes count."""
    task = graphs.the_retrieval(tasks, "nearest_rows", nodes)
    within("neighbours", neighbours, 1, math.inf)
    within("ridge", ridge, 0, math.inf)

    def own(net: Any, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """(N, D) features of the classes themselves: the node that is no step away."""
        near = net.features(inputs)
        near = near.reshape(len(near), len(nodes), -1)[:, 0]
        return contrast.unit(near @ jnp.asarray(nodes[0], near.dtype))

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        return 0 * own(net, batch["train"]).sum(), {}

    def fitted(found: list[tuple[jax.Array, ...]]) -> dict[str, jax.Array]:
        # Rows that only fill up a batch are not real: they are near to nothing, and of no weight.
        features, rows, real = (jnp.concatenate(column) for column in zip(*found, strict=True))
        real = real.astype(rows.dtype)[:, None]
        if not ridge:
            return {"features": features, "rows": rows, "real": real[:, 0], "mean": jnp.zeros(rows.shape[1])}
        mean = (real * rows).sum(axis=0) / real.sum()
        kernel = real * (features @ features.T) * real.T + ridge * jnp.eye(len(features))
        solved = jnp.linalg.solve(kernel, real * (rows - mean[None]))
        return {"features": features, "rows": solved, "real": real[:, 0], "mean": mean}

    def ready(net: Any, memory: Any, data: Any) -> dict[str, jax.Array]:
        each = jax.jit(lambda rows: (own(net, rows), rows[task.name], rows["mask"]))
        return jax.jit(fitted)([each(dict(rows)) for rows in data["train"]])

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        alike = own(net, inputs) @ memory["features"].T
        if not ridge:
            # One place for each class: of equal ones the first, by its number.
            near = jnp.where(memory["real"][None] > 0, alike, -jnp.inf)
            chosen = jax.lax.top_k(near, min(neighbours, near.shape[1]))[1]
            alike = jax.nn.one_hot(chosen, near.shape[1]).sum(axis=1) * memory["real"][None]
            alike = alike / alike.sum(axis=1, keepdims=True)
        return {task.name: contrast.unit(alike @ memory["rows"] + memory["mean"][None])}

    return Method(streams=("train",), steps=[(loss, None)], heads=False, ready=ready, predict=predict)
