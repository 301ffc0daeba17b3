"""A config's training step compiled for TPU chips that are not there: shapes and shardings of everything, no arrays."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from tl import averages, begin, build, inputs, models, roofline, train
from tl import config as configs
from tl import mesh as meshes
from tl.advance import compiled
from tl.config import Config
from tl.errors import InputError
from tl.models import ops
from tl.optim import Optimizer
from tl.step import State
from tl.text import Text

# libtpu looks for a machine of its own and refuses a second process, unless told that there is no chip to share.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",  # of the machine, not of the topology
    "TPU_MIN_LOG_LEVEL": "3",
}


def prepare() -> None:
    """The environment of libtpu, to be set before it is loaded; what the caller has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def devices(topology: str) -> list[Any]:
    """The chips of a topology such as `v5e:16x16`, in no machine; InputError without libtpu or for an unknown name."""
    try:
        import libtpu  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            "libtpu, the TPU compiler, is not installed: pip install -e '.[plan]' (version 0.0.42.1 goes with jax "
            f"0.10.2, and this is jax {jax.__version__})."
        ) from None
    options = {"chip_config_name": "megacore"} if topology.startswith("v4") else {}  # else a v4 chip is two devices
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology, **options).devices)
    except Exception as error:  # a jax.errors.JaxRuntimeError or a ValueError, by the kind of mistake
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"--topology {topology} is none that libtpu knows ({reason}): e.g. v5e:16x16, v5p:4x4x4 or v6e:2x2."
        ) from error


def abstract_batch(config: Config, mesh: jax.sharding.Mesh) -> Any:
    """{stream: {field: shape}} of the global batch on `mesh`, after a few rows of each stream; no more is read.

    Every stream's rows are multiples of batch_size, so a batch of any size costs nothing.
    """
    shapes = inputs.episodes_of(config)
    # The fewest that a method takes which compares domains, or an episode.
    few = shapes.train.rows if shapes and shapes.train else 2 * (len(config.data.split("+")) + 1)
    alone = {
        "batch_size": few,
        "eval_batch_size": shapes.test.rows if shapes else 1,
        "accumulate": 1,
        "norm_groups": 0,
        "mesh": {"model": 0},
    }
    host = build.experiment(configs.merged(config, alone), meshes.make_mesh(jax.devices()[:1]))
    place = meshes.batch_sharding(mesh)

    def widen(x: Any) -> jax.ShapeDtypeStruct:
        shape = (np.shape(x)[0] * config.batch_size // few, *np.shape(x)[1:])
        return jax.ShapeDtypeStruct(shape, np.asarray(x).dtype, sharding=place)

    return {name: jax.tree.map(widen, stream[0]) for name, stream in host.streams.items()}


class OneBatch(list):
    """A pass over `size` images of which one batch stands for all."""

    def __init__(self, rows: Sequence[Any], size: int) -> None:
        super().__init__(rows)
        self.size = size


def abstract_state(experiment: train.Experiment, batch: Any) -> tuple[State, Optimizer]:
    """What `begin.init` makes, as shapes and shardings, without an array; `batch` as `abstract_batch` gives it.

    A method's memory is shaped as one batch makes it, not a pass over the data.
    """
    config, method, mesh = experiment.config, experiment.method, experiment.mesh
    bind = begin.binder(experiment, lambda path: False)
    variables = jax.eval_shape(lambda b: begin.created(experiment, bind, b, jax.random.key(config.seed)), batch)
    optimizer = begin.make_optimizer(experiment, variables["params"])
    memory = jax.eval_shape(
        lambda v, b: method.memory(
            bind(v["params"], v["stats"]),
            {name: OneBatch([b[name]], experiment.passes[name].size) for name in method.streams},
        ),
        variables,
        batch,
    )
    whole = meshes.replicated(mesh)

    def placed(tree: Any, places: Any) -> Any:
        return jax.tree.map(lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p), tree, places)

    def split(tree: Any) -> Any:
        return placed(tree, meshes.state_sharding(tree, mesh))

    variables = split(variables)
    step: Any = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
    state = State(
        step,
        variables["params"],
        variables["stats"],
        split(jax.eval_shape(optimizer.init, variables["params"])),
        placed(memory, jax.tree.map(lambda _: whole, memory)),
        variables if averages.rate(config, experiment.eval_every, experiment.steps) else {},
    )
    return state, optimizer


def lowered(config: Config, mesh: jax.sharding.Mesh) -> tuple[Any, train.Experiment]:
    """The step of `config` over `mesh`, as the loop jits it, traced for a TPU."""
    experiment = build.experiment(config, mesh)
    token = ops.TARGET.set("tpu")
    try:
        batch = abstract_batch(config, mesh)
        state, optimizer = abstract_state(experiment, batch)
        step = train.step_of(experiment, optimizer, begin.statistics_policy(optimizer, config.frozen_stats))
        return compiled(step, state).lower(state, batch), experiment
    finally:
        ops.TARGET.reset(token)


def state_bytes(state: State) -> int:
    """Bytes of a state, abstract or not, on one of its devices, tiles left out."""
    leaves = jax.tree.leaves(state)
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def held(config: Config, name: str) -> int:
    """Bytes of state on each chip of the topology `name`; nothing is compiled."""
    config, mesh = _ready(config, name)
    return state_bytes(abstract_state(build.experiment(config, mesh), abstract_batch(config, mesh))[0])


def _ready(config: Config, name: str) -> tuple[Config, jax.sharding.Mesh]:
    if name.partition(":")[0] not in roofline.CHIPS:
        raise InputError(f"--topology {name} names no known chip: it must be one of {', '.join(roofline.CHIPS)}.")
    return unweighted(config), meshes.make_mesh(devices(name), config.mesh)


def unweighted(config: Config) -> Config:
    """The config without its weights, where they change no shape."""
    # They do where the method goes on from their classifier, and where a vocabulary stands beside them: it says how
    # many tokens there are and how many a sentence has. What they say of images can be set by image_size.
    asks = "source_outputs" in build.asked(build.find_method(config.method))
    kept = {} if asks or models.reads(config.model) == "tokens" else {"weights": "none"}
    return configs.merged(config, {**kept, "classifier": "auto"})


def rows(experiment: train.Experiment) -> str:
    """What the rows of a batch are, in words, with how long sentences are."""
    holds, text = experiment.dataset.splits["train"].holds, experiment.preprocess["backbone"]
    return f"{holds} of {text.length} tokens" if isinstance(text, Text) else holds


def figures(config: Config, name: str, options: Mapping[str, Any], hlo: pathlib.Path | None = None) -> dict[str, Any]:
    """What the step of `config` takes on the topology `name`; bytes, FLOPs, seconds. `options` are the compiler's."""
    config, mesh = _ready(config, name)
    program, experiment = lowered(config, mesh)
    begin = time.perf_counter(), time.process_time()
    try:
        done = program.compile(compiler_options=dict(options))
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        if "RESOURCE_EXHAUSTED" in reason or "memory" in reason:
            reason += "; lower batch_size, raise accumulate or mesh.model, or set remat"
        raise InputError(f"the TPU compiler refuses this step on {name}: {reason}.") from error
    duration, processors = time.perf_counter() - begin[0], time.process_time() - begin[1]
    text, memory, cost = done.as_text(), done.memory_analysis(), done.cost_analysis()
    if hlo:
        hlo.write_text(text)
    messages, per_chip = roofline.collectives(text), config.batch_size / mesh.size
    # The compiler counts a loop's body once.
    turns = config.accumulate
    flops, accessed, traffic = cost["flops"] * turns, cost["bytes accessed"] * turns, roofline.memory_traffic(text)
    seconds = roofline.seconds(flops, traffic, messages, name)
    return {
        "topology": name,
        "chips": mesh.size,
        "batch_size": config.batch_size,
        "rows": rows(experiment),
        "compile_seconds": round(duration, 1),
        "compile_cpu_seconds": round(processors, 1),
        "memory": {
            "arguments": memory.argument_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "peak": memory.peak_memory_in_bytes,
            "chip": roofline.CHIPS[name.partition(":")[0]].memory,
        },
        "per_image": {
            "flops": flops / per_chip,
            "bytes_accessed": accessed / per_chip,
            "hbm": traffic / per_chip,
        },
        "collectives": [dataclasses.asdict(message) for message in messages],
        "seconds": seconds,
        "images_per_s": config.batch_size / seconds["step"],
        "steps": experiment.steps,
        "chip_hours": experiment.steps * seconds["step"] * mesh.size / 3600,
    }
