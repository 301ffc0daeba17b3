"""DELTA (Li et al. 2019, arXiv:1901.09229): maps stay near those of the start, by each channel's worth.

    loss = CE(z, y) + weight sum_maps C/2 sum_c a_c mean (F_c - F0_c)^2 + beta / 2 |new layers|^2
    a = softmax(u(rise) / temperature),  F0: the C channels of a map by the weights of the start
    u(x): of mean 0 and deviation 1 over the channels of a map

A channel is worth what the loss rises by without it, on the weights that the run starts with: probe first.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tl import regularisers
from tl.batches import Batch
from tl.errors import unknown
from tl.methods.base import Method, new_layers, start_of, the_classification
from tl.models.ops import per_channel
from tl.tasks import Task

BESIDE = ("stem", "pooled")  # what lies before the first block, and behind the last


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 0.01,
    beta: float = 0.01,
    maps: tuple[str, ...] = (),
    batches: int = 4,
    temperature: float = 5.0,
) -> Method:
    """`weight`: of the distance of the maps; `beta`: of the new layers' squared norm; set optim.weight_decay to 0.

    `maps`: which are compared, () for every stage's. `batches`: of evaluation, over which channels are weighed by
    softmax(u(rise) / temperature), a pass for each channel of each map; 0: all channels alike, at no cost.
    """
    task = the_classification(tasks, "delta")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        here, outputs = net.maps_and_outputs(inputs)
        there = net.elsewhere(**memory["start"]).maps(inputs, train=False)
        attention = memory["attention"]
        # Behind frozen layers only their last map is known, and maps before it cannot have moved.
        known = [name for name in compared(here, maps) if f"map/{name}" not in inputs]
        distances = [regularisers.map_distance(here[name], there[name], attention[name]) for name in known]
        apart = sum(distances, jnp.zeros(()))
        task_loss = task.loss(outputs[task.name], inputs[task.name])
        size = regularisers.squared_norm(new_layers(net))
        return task_loss + weight * apart + 0.5 * beta * size, {"loss_task": task_loss, "moved": apart}

    def memory(net: Any, data: Any) -> dict[str, Any]:
        if batches:
            rises = channel_rises(net, task, itertools.islice(data["train"], batches), maps)
        else:
            shapes = jax.eval_shape(net.maps, next(iter(data["train"])))
            rises = {name: jnp.zeros(shapes[name].shape[-1]) for name in compared(shapes, maps)}
        attention = {name: jax.nn.softmax(standard(rise) / temperature) for name, rise in rises.items()}
        return {"start": start_of(net, "backbone"), "attention": attention}

    return Method(streams=("train",), steps=[(loss, None)], memory=memory)


def compared(found: Mapping[str, Any], chosen: Sequence[str]) -> list[str]:
    """The names of the maps to compare."""
    for name in chosen:
        if name not in found:
            raise unknown("map in method_args.maps", name, list(found))
    return list(chosen) or [name for name in found if name not in BESIDE]


def standard(rise: jax.Array) -> jax.Array:
    """(C,) of mean 0 and deviation 1, as the Transfer Learning Library weighs channels; 0 where all are the same."""
    return (rise - rise.mean()) / jnp.maximum(rise.std(ddof=1), 1e-12)


def channel_rises(net: Any, task: Task, data: Iterable[Any], chosen: Sequence[str]) -> dict[str, jax.Array]:
    """{map: (C,)} by how much the mean loss over the batches of `data` rises when a channel is nothing."""

    @jax.jit  # what `net` holds comes in as an argument: else it would be a constant of the program
    def sums(params: Any, stats: Any, inputs: Mapping[str, jax.Array]) -> tuple[dict[str, jax.Array], jax.Array]:
        here = net.elsewhere(params, stats)
        shown = inputs.get("mask", jnp.ones(inputs[task.name].shape[0], bool))
        found = here.maps(inputs)

        def loss_of(name: str, kept: jax.Array) -> jax.Array:
            value = found[name] * per_channel(kept, found[name])
            return jnp.sum(task.each(here.logits({f"map/{name}": value}), inputs[task.name]) * shown)

        def rise(name: str) -> jax.Array:
            channels, dtype = found[name].shape[-1], found[name].dtype
            without = jax.lax.map(lambda kept: loss_of(name, kept), 1 - jnp.eye(channels, dtype=dtype))
            return without - loss_of(name, jnp.ones(channels, dtype))

        return {name: rise(name) for name in compared(found, chosen)}, shown.sum()

    found = [sums(net.params, net.stats, inputs) for inputs in data]
    rises, counts = jax.tree.map(lambda *each: sum(each), *found)
    return jax.tree.map(lambda rise: rise / counts, rises)
