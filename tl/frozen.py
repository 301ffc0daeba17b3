"""What is frozen is computed once: where the first layers neither move nor see augmented images, their maps replace the
images of training and of val."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tl.data import cache
from tl.errors import InputError
from tl.evaluators.collect import collect
from tl.optim import Optimizer, paths

if TYPE_CHECKING:
    from tl.step import State
    from tl.train import Experiment

MOST_BYTES = 4 * 2**30  # of all cached maps, in the memory of every host
MOST_DEVICE_BYTES = 2**30


class Feeds(NamedTuple):
    """What a run really reads: the experiment's streams and sets, or frozen maps in place of their images."""

    streams: Mapping[str, Any]
    evals: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, np.ndarray]] = {}  # {stream: rows} small enough to lie on every device


def feeds(
    experiment: Experiment,
    state: State,
    optimizer: Optimizer,
    own_stats: Callable[[str], bool],
    bind: Callable[..., Any],
    say: Callable[[str], None],
) -> Feeds:
    """The run's streams and evaluation sets, from the deepest frozen map on where that is exact and worth it."""
    untouched = Feeds(experiment.streams, experiment.evals)
    if not worth_it(experiment) or int(state.step) >= experiment.steps:
        return untouched
    for name in frozen_maps(experiment, state, optimizer, own_stats):
        size = map_bytes(experiment, state, bind, name)
        if size <= MOST_BYTES and suffices(experiment, state, bind, name):
            return cached(experiment, state, bind, name, say)
    return untouched


def worth_it(experiment: Experiment) -> bool:
    """The images are the same in every epoch, and there is more than one: a resumed run decides as it did before."""
    config = experiment.config
    if config.recompute_frozen or config.train_transforms:
        return False
    return experiment.steps * config.batch_size > len(experiment.dataset.splits["train"])


def frozen_maps(
    experiment: Experiment, state: State, optimizer: Optimizer, own_stats: Callable[[str], bool]
) -> Iterator[str]:
    """Names of the backbone's maps that no step can change, the deepest first."""
    backbone = experiment.modules["backbone"]
    moving = {path for path in paths(state.params) if optimizer.moves(path)}
    moving |= {path for path in paths(state.stats) if own_stats(path.rsplit("/", 1)[0])}
    layers = {path.split("/")[1] for path in moving if path.startswith("backbone/")}
    names = backbone.feature_maps
    first = min((names.index(layer) if layer in names else 0 for layer in layers), default=len(names))
    # Dropout behind the last layer belongs to the pooled features, and is drawn anew at every step.
    last = len(names) - 1 if getattr(backbone, "dropout", 0.0) else len(names)
    return reversed(names[: min(first, last)])


def one_batch(experiment: Experiment) -> dict[str, Any]:
    """{stream: one host row batch as shapes}."""
    shape = lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype)  # noqa: E731
    return {name: jax.tree.map(shape, stream[0]) for name, stream in experiment.streams.items()}


def map_of(bind: Callable[..., Any], name: str, params: Any, stats: Any, inputs: Mapping[str, Any]) -> jax.Array:
    return bind(params, stats).maps(inputs)[name]


def map_bytes(experiment: Experiment, state: State, bind: Callable[..., Any], name: str) -> int:
    """Bytes of the map `name` of all images that would be kept."""
    total = 0
    for stream, rows in one_batch(experiment).items():
        out = jax.eval_shape(lambda p, s, b: map_of(bind, name, p, s, b), state.params, state.stats, rows)
        row = math.prod(out.shape[1:]) * out.dtype.itemsize
        total += row * experiment.passes[stream].size
    return total


def suffices(experiment: Experiment, state: State, bind: Callable[..., Any], name: str) -> bool:
    """Whether every loss and the prediction can be had from the map `name`: none asks for images or earlier maps."""
    method = experiment.method
    key = jax.random.key(0)

    def everything(state: State, batch: Mapping[str, Mapping[str, jax.Array]]) -> None:
        maps = {
            stream: {
                **{k: v for k, v in rows.items() if k != "image"},
                f"map/{name}": map_of(bind, name, state.params, state.stats, rows),
            }
            for stream, rows in batch.items()
        }
        net = bind(state.params, state.stats, train=True, key=key)
        for loss, _ in method.steps:
            loss(net, maps, state.memory, key, jnp.zeros(()))
        method.predict(bind(state.params, state.stats), maps[method.streams[0]], state.memory)

    try:
        jax.eval_shape(everything, state, one_batch(experiment))
    except (KeyError, InputError):
        return False
    return True


def cached(
    experiment: Experiment, state: State, bind: Callable[..., Any], name: str, say: Callable[[str], None]
) -> Feeds:
    """One pass over the training images and over val, and streams and batches of what came out."""
    began = time.perf_counter()
    config, mesh = experiment.config, experiment.mesh
    compute = jax.jit(lambda params, stats, inputs: {name: map_of(bind, name, params, stats, inputs)})

    def rows(batches: Any) -> dict[str, np.ndarray]:
        table = collect(lambda batch: compute(state.params, state.stats, batch), batches)
        return {f"map/{name}": table.pop(f"outputs/{name}"), **table}

    found = {stream: rows(experiment.passes[stream]) for stream in experiment.streams}
    held = {split: rows(batches) for split, batches in experiment.evals.items() if split != "test"}
    size = sum(table[f"map/{name}"].nbytes for table in (*found.values(), *held.values()))
    say(
        f"everything up to '{name}' is frozen: computed once for {sum(len(t['index']) for t in found.values())} images "
        f"({size / 2**20:.0f} MiB, {time.perf_counter() - began:.0f} s)"
    )
    streams = {
        stream: cache.cached_stream(table, batch_size=config.batch_size, seed=config.seed, name=stream)
        for stream, table in found.items()
    }
    batch = config.eval_batch_size or config.batch_size
    evals = {split: cache.cached_batches(table, batch, mesh) for split, table in held.items()}
    # Only heads train in bursts: a step with convolutions is long enough to hide the call.
    bursts = name == "pooled" and size <= MOST_DEVICE_BYTES
    return Feeds(streams, {**experiment.evals, **evals}, found if bursts else {})
