"""A config's training step compiled for TPU chips that are not there: shapes and shardings of everything, no arrays."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from tl import build, train
from tl import config as configs
from tl import mesh as meshes
from tl.advance import compiled
from tl.config import Config
from tl.data import streams
from tl.errors import InputError
from tl.models import ops
from tl.optim import Optimizer
from tl.step import State, create, make_step

# libtpu looks for a machine of its own and refuses a second process, unless told that there is no chip to share.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
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
            "libtpu, the TPU compiler, is not installed: pip install 'tl[plan]' (a version that goes with jax "
            f"{jax.__version__})."
        ) from None
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:  # a jax.errors.JaxRuntimeError or a ValueError, by the kind of mistake
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"--topology {topology} is none that libtpu knows ({reason}): e.g. v5e:16x16, v5p:4x4x4 or v6e:2x2."
        ) from error


def abstract_batch(config: Config, mesh: jax.sharding.Mesh) -> tuple[Any, Any]:
    """(one row of each stream, read and on the host's device; the global batch as shapes on `mesh`).

    Only one row is read, so that a batch of any size costs nothing; every stream's rows are multiples of batch_size.
    """
    single = configs.merged(config, {"batch_size": 1, "eval_batch_size": 1, "accumulate": 1, "mesh": {"model": 0}})
    host = build.experiment(single, meshes.make_mesh(jax.devices()[:1]))
    rows = {name: stream[0] for name, stream in host.streams.items()}
    place = meshes.batch_sharding(mesh)

    def widen(x: Any) -> jax.ShapeDtypeStruct:
        shape = (np.shape(x)[0] * config.batch_size, *np.shape(x)[1:])
        return jax.ShapeDtypeStruct(shape, np.asarray(x).dtype, sharding=place)

    return jax.tree.map(jnp.asarray, rows), jax.tree.map(widen, rows)


def abstract_state(experiment: train.Experiment, rows: Any) -> tuple[State, Optimizer]:
    """What `train.init` makes, as shapes and shardings, without an array; `rows`: any batch, such as one row.

    A method's memory is shaped as one batch makes it, not a pass over the data.
    """
    config, method, mesh = experiment.config, experiment.method, experiment.mesh
    bind = train.binder(experiment, lambda path: False)
    variables = jax.eval_shape(partial(create, bind, method, rows, jax.random.key(config.seed)))
    optimizer = train.make_optimizer(experiment, variables["params"])
    passes = {stream: [rows[stream]] for stream in method.streams}
    memory = jax.eval_shape(lambda v: method.memory(bind(v["params"], v["stats"]), passes), variables)
    whole = meshes.replicated(mesh)

    def placed(tree: Any, places: Any) -> Any:
        return jax.tree.map(lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p), tree, places)

    def split(tree: Any) -> Any:
        return placed(tree, meshes.state_sharding(tree, mesh))

    variables = split(variables)
    state = State(
        jax.ShapeDtypeStruct((), jnp.int32, sharding=whole),
        variables["params"],
        variables["stats"],
        split(jax.eval_shape(optimizer.init, variables["params"])),
        placed(memory, jax.tree.map(lambda _: whole, memory)),
        variables if config.ema else {},
    )
    return state, optimizer


def lowered(config: Config, mesh: jax.sharding.Mesh) -> tuple[Any, train.Experiment]:
    """The step of `config` over `mesh`, as the loop jits it, traced for a TPU."""
    experiment = build.experiment(config, mesh)
    token = ops.TARGET.set("tpu")
    try:
        rows, batch = abstract_batch(config, mesh)
        state, optimizer = abstract_state(experiment, rows)
        step = make_step(
            train.binder(experiment, train.statistics_policy(optimizer, config.frozen_stats)),
            experiment.method,
            optimizer,
            steps=experiment.steps,
            seed=config.seed,
            accumulate=config.accumulate,
            ema=config.ema,
        )
        return compiled(step, state).lower(state, batch), experiment
    finally:
        ops.TARGET.reset(token)


def compile_step(config: Config, topology: str, options: dict[str, Any] | None = None) -> tuple[Any, Any, float]:
    """(the compiled step, its experiment, seconds of compilation) on `topology`."""
    mesh = meshes.make_mesh(devices(topology), config.mesh)
    program, experiment = lowered(config, mesh)
    begin = time.perf_counter()
    return program.compile(compiler_options=options), experiment, time.perf_counter() - begin
