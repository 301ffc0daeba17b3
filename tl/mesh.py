"""One mesh for one CPU, one GPU and a pod: every array lives on it, every step is one `jax.jit` over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tl.errors import InputError

DATA, MODEL = "data", "model"
LEAST_SPLIT = 1024  # elements: what is smaller costs more to fetch than to keep


def make_mesh(devices: Sequence[Any] | None = None, axes: Mapping[str, int] | None = None) -> Mesh:
    """All devices as `data` x `model`; 0 or no number in `axes`: one along `model`, along `data` all that are left.

    Both axes hold images; parameters and optimiser state are split over `model` (see state_sharding). The axes are
    Auto, as Explicit, the default of `jax.make_mesh`, breaks inner gradients.
    """
    devices = jax.devices() if devices is None else devices
    model = (axes or {}).get(MODEL) or 1
    data = (axes or {}).get(DATA) or len(devices) // model
    if data * model != len(devices):
        raise InputError(
            f"config.mesh = {{data: {data}, model: {model}}} does not make {len(devices)}, the number of devices: "
            "give model alone, a divisor of it."
        )
    return jax.make_mesh((data, model), (DATA, MODEL), axis_types=(AxisType.Auto,) * 2, devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Leading axis split over all devices."""
    return NamedSharding(mesh, PartitionSpec((DATA, MODEL)))


def state_sharding(tree: Any, mesh: Mesh) -> Any:
    """For each leaf (or its shape): split over `model` along its longest axis that divides, else replicated.

    Equal shapes get equal shardings, so an optimiser's moments lie where their parameters lie.
    """
    count = mesh.shape[MODEL]

    def place(leaf: Any) -> NamedSharding:
        fits = [axis for axis, length in enumerate(leaf.shape) if length % count == 0]
        if count == 1 or not fits or leaf.size < LEAST_SPLIT:
            return replicated(mesh)
        longest = max(fits, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, MODEL))

    return jax.tree.map(place, tree)


def place(tree: Any, mesh: Mesh) -> Any:
    """Arrays that every host holds whole -> global ones where `state_sharding` wants them."""

    def one(leaf: Any, sharding: NamedSharding) -> jax.Array:
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)

    return jax.tree.map(one, tree, state_sharding(tree, mesh))


def whole(tree: Any, mesh: Mesh) -> Any:
    """Parameters as a network uses them: fetched whole from the devices over which they are split."""
    if mesh.shape[MODEL] == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, replicated(mesh))


def columns(scores: jax.Array, mesh: Mesh) -> jax.Array:
    """(N, E) scores of rows that are split over `model`, each device's own beside them; so are their gradients."""
    if mesh.shape[MODEL] == 1:
        return scores
    return jax.lax.with_sharding_constraint(scores, NamedSharding(mesh, PartitionSpec(DATA, MODEL)))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Host arrays -> global ones. Each host brings its rows of a sharded array, or all of a replicated one."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def gather(tree: Any) -> Any:
    """Global arrays -> whole numpy arrays on every host."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return multihost_utils.process_allgather(tree, tiled=True)
