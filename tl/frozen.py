"""What is frozen is computed once: where the first layers neither move nor see augmented images, their maps replace the
images of training and of evaluation."""

from __future__ import annotations

import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tl import kept, runtime, views
from tl.data import cache
from tl.data.order import STRONG
from tl.data.streams import EvalBatches, eval_batches
from tl.errors import InputError
from tl.evaluators.collect import collect
from tl.inputs import AT_THE_END
from tl.optim import Optimizer, paths
from tl.pieces import in_pieces

if TYPE_CHECKING:
    from tl.step import State
    from tl.train import Experiment

MOST_BYTES = 4 * 2**30  # of all cached maps, in the memory of every host
MOST_STORED_BYTES = 256 * 2**30  # of those that do not fit there, in array_record files
MOST_DEVICE_BYTES = 2**30
FEW_BYTES = 16  # of a row, such as a triple, that costs a CPU more to fetch than to learn from


class Feeds(NamedTuple):
    """What a run really reads: the experiment's streams and sets, or frozen maps in place of their images."""

    streams: Mapping[str, Any]
    evals: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, np.ndarray]] = {}  # {stream: rows} small enough to lie on every device
    views: int = 1  # how many times every image stands in them


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
    if int(state.step) >= experiment.steps:
        return untouched
    if not worth_it(experiment):
        return untouched._replace(rows=resident(experiment))
    shapes = map_shapes(experiment, state, bind)
    for name in frozen_maps(experiment, state, optimizer, own_stats):
        size = map_bytes(experiment, shapes, name)
        if (size <= MOST_BYTES or storable(size)) and suffices(experiment, state, bind, shapes, name):
            return cached(experiment, state, bind, name, size, say)
    return untouched._replace(rows=resident(experiment))


def resident(experiment: Experiment) -> dict[str, dict[str, np.ndarray]]:
    """The training images themselves, where an accelerator can hold them all and none is augmented; else {}.

    Its steps then wait neither for the host nor for the bus. A CPU's step is long enough to hide both, unless a row is
    a few numbers, of which the host would spend longer on a batch than the step.
    """
    if random_views(experiment) or jax.process_count() > 1:
        return {}
    field = experiment.dataset.field
    shapes = {name: rows[field] for name, rows in one_batch(experiment).items() if field in rows}
    if len(shapes) < len(experiment.streams):
        return {}
    passes = {name: experiment.passes[name] for name in shapes}
    each = {name: math.prod(rows.shape[1:]) * rows.dtype.itemsize for name, rows in shapes.items()}
    if not on_accelerator() and max(each.values()) > FEW_BYTES:
        return {}
    if sum(each[name] * batches.size for name, batches in passes.items()) > MOST_DEVICE_BYTES:
        return {}
    return {name: collect(lambda batch: {field: batch[field]}, batches) for name, batches in passes.items()}


def on_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def storable(size: int) -> bool:
    """Whether maps of `size` bytes find room on disk. Several hosts would have to share it: they use memory alone."""
    folder = next(path for path in [runtime.cache_folder(), *runtime.cache_folder().parents] if path.is_dir())
    return jax.process_count() == 1 and size <= min(MOST_STORED_BYTES, shutil.disk_usage(folder).free // 2)


def worth_it(experiment: Experiment) -> bool:
    """The images are the same in every epoch, and there are more of these than views: as decided when resumed, too.

    What is kept serves other runs as well, however short this one is.
    """
    config = experiment.config
    if config.recompute_frozen or (random_views(experiment) and not config.cached_views):
        return False
    if config.keep_features:
        return True
    shown = experiment.steps * config.batch_size * len(experiment.streams)
    return shown > max(1, config.cached_views) * sum(experiment.passes[name].size for name in experiment.streams)


def random_views(experiment: Experiment) -> bool:
    """Whether the images of a stream are drawn anew each time."""
    return bool(experiment.config.train_transforms) or any(name.endswith(STRONG) for name in experiment.streams)


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
    # Dropout is drawn anew at every step: where there is any, it is behind the last layer unless the model says more.
    stable = getattr(backbone, "stable_maps", names[:-1]) if getattr(backbone, "dropout", 0.0) else names
    return reversed(names[: min(first, len(stable))])


def one_batch(experiment: Experiment) -> dict[str, Any]:
    """{stream: one host row batch as shapes}."""
    shape = lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype)  # noqa: E731
    return {name: jax.tree.map(shape, stream[0]) for name, stream in experiment.streams.items()}


def map_of(bind: Callable[..., Any], name: str, params: Any, stats: Any, inputs: Mapping[str, Any]) -> jax.Array:
    return bind(params, stats).maps(inputs)[name]


def map_shapes(experiment: Experiment, state: State, bind: Callable[..., Any]) -> dict[str, Mapping[str, Any]]:
    """{stream: every map of one batch as a shape}; images of one size are traced once."""
    found: dict[Any, Mapping[str, Any]] = {}
    by_stream = {}
    for stream, rows in one_batch(experiment).items():
        shape = rows.get(experiment.dataset.field)
        if shape is None:  # a graph's triples beside images do not go through the backbone
            continue
        if shape not in found:
            read = {experiment.dataset.field: shape}
            found[shape] = jax.eval_shape(lambda p, s, b: bind(p, s).maps(b), state.params, state.stats, read)
        by_stream[stream] = found[shape]
    return by_stream


def map_bytes(experiment: Experiment, shapes: Mapping[str, Mapping[str, Any]], name: str) -> int:
    """Bytes of the map `name` of all images that would be kept."""
    return sum(
        math.prod(maps[name].shape[1:])
        * maps[name].dtype.itemsize
        * (experiment.views or experiment.passes)[stream].size
        for stream, maps in shapes.items()
    )


def suffices(
    experiment: Experiment,
    state: State,
    bind: Callable[..., Any],
    shapes: Mapping[str, Mapping[str, Any]],
    name: str,
) -> bool:
    """Whether every loss and the prediction can be had from the map `name`: none asks for images or earlier maps."""
    method = experiment.method
    if method.ready and not state.memory:  # what it predicts by is made at the end, and its shapes are not known yet
        return False
    key = jax.random.key(0)
    batch = {
        stream: {
            **{k: v for k, v in rows.items() if k != experiment.dataset.field},
            f"map/{name}": shapes[stream][name],
        }
        if stream in shapes
        else rows
        for stream, rows in one_batch(experiment).items()
    }

    def everything(state: State, maps: Mapping[str, Mapping[str, jax.Array]]) -> None:
        net = bind(state.params, state.stats, train=True, key=key)
        for loss, _ in method.steps:
            loss(net, maps, state.memory, key, jnp.zeros(()))
        method.predict(bind(state.params, state.stats), maps[method.streams[0]], state.memory)

    try:
        jax.eval_shape(everything, state, batch)
    except (KeyError, InputError):
        return False
    return True


def maps_of(
    experiment: Experiment, state: State, bind: Callable[..., Any], name: str, keys: kept.Keys, memory: bool
) -> Callable[..., dict[str, Any]]:
    """`rows(batches, stream)`: a table of the map `name` and the labels, read from disk, or computed and kept there.

    `rows(batches, stream, view)`: the same of that view of each image.
    """
    config, mesh = experiment.config, experiment.mesh

    @partial(jax.jit, static_argnames="view")
    def compute(params: Any, stats: Any, inputs: Any, view: str) -> Any:
        def of(rows: Any) -> Any:
            return {f"map/{name}": map_of(bind, name, params, stats, views.seen(rows, view) if view else rows)}

        return in_pieces(of, inputs, mesh)

    def features(view: str, batch: Any) -> Any:
        return compute(state.params, state.stats, batch, view)

    def computed(batches: EvalBatches, view: str, numbers: list[int]) -> Iterator[np.ndarray]:
        """The map of some of the rows, a batch at a time."""
        if len(numbers) < batches.size:
            assert batches.split is not None
            assert batches.transform is not None
            part = batches.split.take(numbers)
            batches = eval_batches(part, batches.transform, config.eval_batch_size or config.batch_size, mesh)
        return (collect(partial(features, view), [rows])[f"map/{name}"] for rows in batches)

    def rows(batches: EvalBatches, stream: str, view: str = "") -> dict[str, Any]:
        assert batches.split is not None
        if (field := batches.split.field) != experiment.dataset.field:  # it does not go through the backbone
            return collect(lambda batch: {field: batch[field]}, batches)
        folder, names = keys.place(batches.split, stream, view)
        # Of several hosts one that found them in a cache of its own would be missing where the others gather.
        alone = jax.process_count() == 1
        held = cache.stored(folder, names, memory) if alone else None
        if held is None and not (alone and (config.keep_features or not memory)):
            return collect(partial(features, view), batches)
        if held is None:
            cache.store(folder, names, partial(computed, batches, view))
            held = cache.stored(folder, names, memory)
        return {**batches.split.table(), f"map/{name}": held}

    return rows


def cached(
    experiment: Experiment,
    state: State,
    bind: Callable[..., Any],
    name: str,
    size: int,
    say: Callable[[str], None],
) -> Feeds:
    """One pass over the training images and each set, and streams and batches of what came out."""
    began = time.perf_counter()
    config, mesh, passes = experiment.config, experiment.mesh, max(1, experiment.config.cached_views)
    batch = config.eval_batch_size or config.batch_size
    keys = kept.Keys(experiment, state, name)
    rows = maps_of(experiment, state, bind, name, keys, memory=size <= MOST_BYTES)
    found = {stream: rows((experiment.views or experiment.passes)[stream], stream) for stream in experiment.streams}
    for table in found.values():  # a view of an image is that image
        table["index"] = table["index"] % (len(table["index"]) // passes)
    held = {split: rows(batches, "") for split, batches in experiment.evals.items() if split not in AT_THE_END}
    for view, (split, table) in itertools.product(config.get("eval_views", ()), held.items()):
        table[views.kept(f"map/{name}", view)] = rows(experiment.evals[split], "", view)[f"map/{name}"]
    maps = [table for table in found.values() if f"map/{name}" in table]
    count = sum(len(table["index"]) for table in maps)
    tables = (*maps, *held.values())
    nbytes = sum(values.nbytes for table in tables for field, values in table.items() if field.startswith("map/"))
    say(
        f"everything up to '{name}' is frozen: computed once for {count} images "
        f"({nbytes / 2**20:.0f} MiB{keys.used()}, {time.perf_counter() - began:.0f} s)"
    )
    how = {"batch_size": config.batch_size, "seed": config.seed, "views": passes}
    streams = {
        stream: cache.cached_stream(table, **how, name=stream, places=experiment.orders.get(stream))
        for stream, table in found.items()
    }
    evals = {split: cache.cached_batches(table, batch, mesh) for split, table in held.items()}
    # Only heads train in bursts: a step with convolutions is long enough to hide the call.
    bursts = name == "pooled" and nbytes <= min(MOST_BYTES, MOST_DEVICE_BYTES)
    return Feeds(streams, {**experiment.evals, **evals}, found if bursts else {}, passes)
