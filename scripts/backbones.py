"""What scripts that compare frozen backbones share: MODEL=WEIGHTS to an experiment, and its features."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tl.errors import InputError


def split(text: str) -> tuple[str, str]:
    """("resnet50", "file:F") of "resnet50=file:F"."""
    model, equals, weights = text.partition("=")
    if not equals or not model or not weights:
        raise InputError(f"'{text}' is no MODEL=WEIGHTS: e.g. resnet50=known or mobilenet_v2_tf=file:F.")
    return model, weights


def experiment_of(model: str, weights: str, shared: Mapping[str, Any]) -> Any:
    """The probe of a backbone on all labelled training images, none cut off."""
    from tl import build, config

    settings = {"model": model, "weights": weights, "val_fraction": 0.0, "train_transforms": (), "select": "", **shared}
    experiment = build.experiment(config.load("configs/probe.py", settings))
    (task,) = experiment.tasks.values()
    if task.kind != "classification" or len(task.classes) < 2:
        raise InputError(f"backbones are compared by classes, and '{shared['data']}' has none to tell apart.")
    return experiment


def features_of(experiment: Any, names: Sequence[str]) -> tuple[dict[str, dict[str, Any]], float, Any]:
    """{"train": {"features": (N, D), "label": (N,), ...}, ...}, the seconds that train took, and the state."""
    import jax

    from tl import begin
    from tl.evaluators.collect import collect

    state, _ = begin.init(experiment)
    bind = begin.binder(experiment, lambda path: False)
    compute = jax.jit(lambda params, stats, batch: {"features": bind(params, stats).features(batch)})
    run = lambda batch: compute(state.params, state.stats, batch)  # noqa: E731
    sets = {"train": experiment.passes["train"], **experiment.evals}
    jax.block_until_ready(run(next(iter(sets["train"]))))  # compiled before the clock runs
    tables, seconds = {}, {}
    for name in names:
        began = time.perf_counter()
        tables[name] = collect(run, sets[name])
        seconds[name] = time.perf_counter() - began
    return tables, seconds["train"], state
