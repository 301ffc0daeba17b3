"""What methods share that learn a knowledge graph: tables of embeddings, every entity scored at once, filtered ranks.

A triple (h, r, t) is two rows: (h, r), whose answer is t, and (t, r^-1), whose answer is h (Lacroix et al. 2018,
arXiv:1806.07297, section 3). Training is the cross-entropy of the answer among all entities, of which Ruffinelli et al.
2020 (ICLR, "You CAN teach an old dog new tricks") found that it suits all these scores.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tl import triples
from tl.batches import Batch
from tl.errors import InputError
from tl.methods.base import Method, Part, within
from tl.models.triples import Table
from tl.tasks import Task

LOWEST = -1e9  # a score that leaves out, and is finite: a loss may weigh it by 0
Start = Callable[..., jax.Array]  # (key, shape, dtype) -> array


@dataclasses.dataclass(frozen=True)
class Graph:
    """A knowledge graph beside images: how many entities and relations, either direction, and each class's entity."""

    entities: int
    relations: int
    classes: tuple[int, ...]


def normal(scale: float) -> Start:
    """Numbers from a normal distribution of that deviation; at 0 no gradient would ever move them."""
    within("start", scale, 1e-9, math.inf)
    return lambda key, shape, dtype: scale * jax.random.normal(key, shape, dtype)


def uniform(most: float) -> Start:
    """Numbers from -most to most."""
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -most, most)


def learning(
    name: str,
    tasks: Mapping[str, Task],
    relations: int,
    *,
    widths: tuple[int, int],
    starts: tuple[Start, Start],
    scores: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    n3: float = 0.0,
    sizes: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> Method:
    """A method of (heads, relations, all entities) -> (N, E) `scores`.

    `widths` and `starts` are of the embeddings of entities and of relations. `n3` weighs the cubes of the `sizes` of
    their numbers, those of the batch's triples.
    """
    task = the_ranking(tasks, name)
    within("rank", min(widths), 1, math.inf)
    within("n3", n3, 0, math.inf)
    counts = {"entities": len(task.classes), "relations": relations}
    parts = {
        part: Part(partial(Table, rows, width, start), split=part == "entities")
        for (part, rows), width, start in zip(counts.items(), widths, starts, strict=True)
    }

    def of_all(net: Any, heads: jax.Array, between: jax.Array) -> jax.Array:
        found = net.columns(scores(heads, between, net.entities()))
        # Rows that only fill up the table are no answer. Left out, not cut off, a chip's share stays where it is.
        return jnp.where(jnp.arange(found.shape[1])[None, :] < len(task.classes), found, LOWEST)

    def asked(net: Any, inputs: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return net.entities(inputs["triple"][:, 0]), net.relations(inputs["triple"][:, 1])

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        heads, between = asked(net, inputs)
        value = task.loss(of_all(net, heads, between), inputs[task.name])
        if not n3:
            return value, {}
        used = [sizes(rows) for rows in (heads, between, net.entities(inputs[task.name]))]
        penalty = n3 * triples.cubes(*used).mean()
        return value + penalty, {"loss_task": value, "loss_n3": penalty}

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        found = of_all(net, *asked(net, inputs))
        if "known" not in inputs:  # a question, of which the answer is not known
            return {task.name: found[:, : len(task.classes)]}
        return {task.name: triples.filtered_ranks(found, inputs[task.name], inputs["known"])}

    return Method(streams=("train",), steps=[(loss, None)], parts=parts, heads=False, predict=predict)


def the_ranking(tasks: Mapping[str, Task], method: str) -> Task:
    """The only task, which must ask for an entity of a knowledge graph."""
    (task, *others) = tasks.values()
    if others or task.kind != "ranking":
        raise InputError(f"the method '{method}' ranks entities: set config.task='ranking'.")
    return task


def the_retrieval(tasks: Mapping[str, Task], method: str, nodes: Any) -> Task:
    """The only task, which must ask for vectors that are compared by their direction, with the `nodes` of its data."""
    (task, *others) = tasks.values()
    if nodes is None:
        raise InputError(f"a finished run of '{method}' answers about no files: its answers are in predictions.npz.")
    if others or task.kind != "retrieval":
        raise InputError(f"the method '{method}' predicts classifiers' rows: set config.task='retrieval'.")
    return task
