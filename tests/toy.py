"""A toy run for tests: a ResNet of width 4 on 8 x 8 pixels, small enough to compile and train in a second."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import numpy as np

from tl import build, config, optim, train
from tl import mesh as meshes
from tl.data import streams
from tl.step import make_step

SMALL = {
    "model_args": {"width": 4, "blocks": (1, 1, 1)},
    "weights": "none",
    "image_size": 8,
    "resize": 8,
    "batch_size": 16,
    "eval_batch_size": 80,
    "labels_per_class": 4,
    "steps": 6,
    "eval_every": 3,
    "save_every": 2,
    "log_every": 1,
}


def toy_config(spec: str = "configs/finetune.py", **changes: Any):
    """The config of `spec`, shrunk; `changes` by key, dots as double underscores."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return config.load(spec, {**SMALL, "train_transforms": (("shift", {}),), **dotted})


def arguments(**changes: Any) -> list[str]:
    """The same as command-line flags."""
    return [f"--config.{key}={value}" for key, value in {**SMALL, "train_transforms": (), **changes}.items()]


def train_steps(chosen: Any, steps: int, devices: int = 8):
    """(state, first step's scalars) after `steps` on `devices` devices, without the loop around it."""
    experiment = build.experiment(chosen)
    mesh = meshes.make_mesh(jax.devices()[:devices])
    experiment = train.dataclasses.replace(experiment, mesh=mesh)
    state, optimizer = train.init(experiment)
    bind = train.binder(experiment, train.statistics_policy(optimizer, chosen.frozen_stats))
    step = jax.jit(
        make_step(bind, experiment.method, optimizer, steps=10, seed=0, accumulate=chosen.accumulate, ema=chosen.ema),
        donate_argnums=0,
        out_shardings=meshes.replicated(mesh),
    )
    batches = iter(streams.batches(experiment.streams, mesh, 0, threads=0))
    first = None
    for _ in range(steps):
        state, scalars = step(state, next(batches))
        first = jax.device_get(scalars) if first is None else first
    assert step._cache_size() <= 1, "the step was compiled again"
    return jax.device_get(state), first, optimizer


def same_leaves(left: Any, right: Any, tolerance: float = 0.0) -> None:
    """Equal trees, bit for bit or within `tolerance`, with the path of the first leaf that differs."""
    a, b = optim.paths(_plain(left)), optim.paths(_plain(right))
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_allclose(np.asarray(a[path]), np.asarray(b[path]), rtol=tolerance, atol=tolerance, err_msg=path)


def _plain(tree: Any) -> dict[str, Any]:
    return dict(enumerate(jax.tree.leaves(tree)))


def leaves_of(folder: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "weights.safetensors")
