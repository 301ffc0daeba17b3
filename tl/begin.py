"""What a run begins with: the state of step 0, and which of its leaves the weights and the method's parts fill."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from tl import adapters, averages, optim, pruning, reduction, weights
from tl import mesh as meshes
from tl.errors import InputError
from tl.evaluators.collect import Collected, collect
from tl.methods.base import OLD_HEAD, Part
from tl.net import Net
from tl.step import Fresh, State, create
from tl.tasks import layers_of

if TYPE_CHECKING:
    from tl.train import Experiment

Flat = Mapping[str, np.ndarray]


def init(experiment: Experiment) -> tuple[State, optim.Optimizer]:
    """Weights in place, the rest initialised, every leaf in a group, optimiser and memory fresh: step 0."""
    config, method, mesh = experiment.config, experiment.method, experiment.mesh
    bind = binder(experiment, lambda path: False)
    # This process's rows alone: shapes are made of them, and a global array cannot be a constant of a program.
    batch = {name: jax.tree.map(jnp.asarray, stream[0]) for name, stream in experiment.streams.items()}
    create_all = partial(created, experiment, bind, batch, jax.random.fold_in(jax.random.key(config.seed), 0))
    try:
        made = Fresh(create_all)
    except KeyError as error:
        field, rows = experiment.dataset.field, experiment.dataset.splits["train"].holds
        if field == "image" or error.args != ("image",):
            raise
        raise InputError(
            f"the method '{config.method}', or one of its method_args, is about images, and config.data holds {rows}: "
            "take another."
        ) from error
    optimizer = make_optimizer(experiment, made.shapes["params"])
    reduction.check(config.reduce, made.shapes["params"], optimizer.moves)
    filled = experiment.weights(optim.paths(made.shapes))
    variables = made.filled(filled)
    variables = {**variables, "params": pruning.pruned(variables["params"], config)}
    variables = meshes.place(variables, mesh)
    if config.reduce and f"params/{reduction.PART}/kernel" not in filled:
        seen = lambda: pooled(experiment, bind, variables)["pooled"]  # noqa: E731
        variables = meshes.place(reduction.fitted(config.reduce, variables, seen, config.seed), mesh)
    net = bind(variables["params"], variables["stats"])
    memory = jax.device_put(method.memory(net, experiment.passes), meshes.replicated(mesh))
    places = meshes.state_sharding(jax.eval_shape(optimizer.init, variables["params"]), mesh)
    opt = jax.jit(optimizer.init, out_shardings=places)(variables["params"])
    state = State(
        meshes.put(np.zeros((), np.int32), meshes.replicated(mesh)),
        variables["params"],
        variables["stats"],
        opt,
        memory,
        variables if averages.rate(config, experiment.eval_every, experiment.steps) else {},
    )
    # One copy of everything: a memory or an average that aliases the weights cannot be donated beside them.
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    return jax.device_put(jax.tree.map(jnp.copy, state), places), optimizer


def pooled(experiment: Experiment, bind: Callable[..., Net], variables: Mapping[str, Any]) -> Collected:
    """Of the training images, as evaluation sees them: `pooled`, the (N, D) features of the backbone, and labels."""
    compute = jax.jit(lambda params, stats, rows: {"pooled": bind(params, stats).maps(rows)["pooled"]})
    batches = experiment.passes["train"]
    return collect(lambda rows: compute(variables["params"], variables["stats"], rows), batches)


def created(experiment: Experiment, bind: Callable[..., Net], batch: Any, key: jax.Array) -> dict[str, Any]:
    """Every variable of the experiment, freshly initialised, after one batch."""
    variables = create(bind, experiment.method, batch, key)
    params = adapters.added(variables["params"], experiment.config, jax.random.fold_in(key, 3))
    return {**variables, "params": params}


def binder(experiment: Experiment, own_stats: Callable[[str], bool]) -> Callable[..., Net]:
    split = {name for name, part in experiment.method.parts.items() if part.split}

    def fetched(params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: tree if name in split else meshes.whole(tree, experiment.mesh) for name, tree in params.items()}

    return lambda params, stats, **kw: Net(
        experiment.modules,
        tuple(experiment.tasks),
        experiment.preprocess,
        adapters.merged(fetched(params), experiment.config),
        stats,
        own_stats=own_stats,
        norm_groups=experiment.config.get("norm_groups", 0),
        domain_norm=experiment.config.get("domain_norm", False),
        columns=partial(meshes.columns, mesh=experiment.mesh),
        layers=layers_of(experiment.config.get("tasks", ())),
        **kw,
    )


def make_optimizer(experiment: Experiment, params: Any) -> optim.Optimizer:
    config = experiment.config
    schedule = optim.make_schedule(**{"steps": experiment.steps, **config.schedule.to_dict()})
    fixed = [(f"{name}/", None) for name, part in experiment.method.parts.items() if not part.trained]
    fixed += [(f"{reduction.PART}/", None)] if config.reduce else []
    groups = [*fixed, *config.groups]
    made = optim.make(params, groups, schedule, **config.optim.to_dict())
    for name, part in experiment.method.parts.items() if experiment.steps else ():
        if part.trained and not any(made.moves(path) for path in made.labels if path.startswith(f"{name}/")):
            raise InputError(
                f"the method '{config.method}' learns the part '{name}', which config.groups freezes: put "
                f"('{name}/', {{}}) before what freezes it."
            )
    beside = [path for path in made.labels if adapters.own(path)] if experiment.steps else []
    if beside and not any(map(made.moves, beside)):
        logging.getLogger(__name__).warning(  # an earlier stage may mean it
            "config.groups freezes what config.lora and config.adapters add beside kernels, which learn nothing here: "
            "put ('.*/(lora_[ab]|adapter)$', {}) before what freezes it"
        )
    return dataclasses.replace(made, pinned=pruning.pinned(params, config))


def statistics_policy(optimizer: optim.Optimizer, frozen_stats: str) -> Callable[[str], bool]:
    """Where batch norm uses and updates the batch's statistics: by default (`auto`) where its weights move.

    Frozen weights on moving statistics are the classic mistake of fine-tuning: the features change under the head.
    """
    if frozen_stats not in ("auto", "all", "none"):
        raise InputError(f"config.frozen_stats is '{frozen_stats}': it must be auto, all or none.")
    moving = {path.rsplit("/", 1)[0] for path in optimizer.labels if optimizer.moves(path)}
    return lambda path: frozen_stats == "none" or (frozen_stats == "auto" and path in moving)


def fill(loaded: weights.Loaded | None, classifier: str, beside: Mapping[str, Part], shapes: Mapping[str, Any]) -> Flat:
    """The leaves, of those in `shapes`, that are loaded; `beside` are the method's parts. The rest is initialised.

    Raises InputError where weights and network do not fit each other.
    """
    wanted = {path: leaf.shape for path, leaf in shapes.items() if not adapters.own(path)}
    if loaded:
        wanted = {path: shape for path, shape in wanted.items() if path in loaded.flat or not adapters.between(path)}
    if loaded and loaded.layers:  # what of the backbone they do not fill is initialised
        inside = tuple(f"params/backbone/{layer}/" for layer in loaded.layers)
        wanted = {
            path: shape for path, shape in wanted.items() if path.split("/")[1] != "backbone" or path.startswith(inside)
        }
    brought = {path: leaf for name, part in beside.items() for path, leaf in own_leaves(name, part, wanted).items()}
    if loaded is None:
        if classifier == "keep":
            raise InputError(
                "config.weights is 'none', but the classifier is to be kept: name weights, e.g. weights=file:F."
            )
        return brought
    # An earlier run's file may hold its method's own parts, which mean nothing to another method.
    parts = {path.split("/")[1] for path in wanted} | {"backbone", "head"}
    flat = {path: leaf for path, leaf in loaded.flat.items() if path.split("/")[1] in parts}
    held = {path.split("/")[1] for path in flat}
    for name, part in beside.items():
        if part.weights and name not in held:
            flat |= renamed(flat, f"params/{part.weights}/", f"params/{name}/")
    return {**weights.merge(wanted, flat, head=classifier), **brought}


def own_leaves(name: str, part: Part, wanted: Mapping[str, tuple[int, ...]]) -> Flat:
    """What a part brings along, in the names of the whole; InputError unless that is all of it."""
    if not part.leaves:
        return {}
    found = renamed(part.leaves, "params/", f"params/{name}/") | renamed(part.leaves, "stats/", f"stats/{name}/")
    own = {path: shape for path, shape in wanted.items() if path.split("/")[1] == name}
    shapes = {path: leaf.shape for path, leaf in found.items()}
    strange = [path for path in sorted(own.keys() | shapes.keys()) if own.get(path) != shapes.get(path)]
    if strange:
        path = strange[0]
        raise InputError(
            f"the weights of the {name} do not fit its network: {path} is {shapes.get(path, 'missing')} there and "
            f"{own.get(path, 'missing')} here, one of {len(strange)}: set config.{name}.model and model_args to those "
            "it was trained with."
        )
    return found


def renamed(flat: Flat, old: str, new: str) -> dict[str, np.ndarray]:
    """The leaves whose path begins with `old`, which becomes `new`."""
    return {new + path.removeprefix(old): leaf for path, leaf in flat.items() if path.startswith(old)}


def old_classes(loaded: weights.Loaded | None) -> int:
    """How many classes the classifier in the weights knows, 0 without one: the old one where a method kept it."""
    flat = loaded.flat if loaded else {}
    kernels = [flat[path] for part in (OLD_HEAD, "head") if (path := f"params/{part}/kernel") in flat]
    return kernels[0].shape[-1] if kernels else 0
