"""Config -> objects -> a run, or a set of runs. The only place that looks methods up by name."""

from __future__ import annotations

import importlib
import inspect
import math
import pathlib
import pkgutil
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

import tl.methods
from tl import (
    averages,
    begin,
    finish,
    hosts,
    increments,
    inputs,
    models,
    nested,
    reduction,
    reverse,
    runs,
    tasks,
    teachers,
    train,
    weights,
    workdir,
)
from tl import mesh as meshes
from tl.config import Config
from tl.data import domains as sources
from tl.data import splits
from tl.data.base import Dataset
from tl.errors import InputError, unknown
from tl.evaluators import validators
from tl.methods.base import FACTS, Method, Part, head_name
from tl.models.heads import Bottleneck, Head, Reduction

Summary = dict[str, Any]
# How an argument of a method is annotated -> what may be given for it.
GIVEN = {"bool": bool, "int": int, "float": (int, float), "str": str, "tuple": (tuple, list)}
COMBINE = ("soup", "ensemble", "interpolate")


def run(config: Config, folder: pathlib.Path | str, *, quiet: bool = False, report: bool = True) -> Summary:
    """Carry out what the config asks for in `folder`, or go on with it, and return `summary.json`.

    Without `report` no run in it writes a page of its own.
    """
    quiet = quiet or jax.process_index() != 0
    summary = _run(config, pathlib.Path(folder), quiet, report)
    hosts.barrier("run")  # host 0 has written what a later stage, or the next start, reads
    return summary


def _run(config: Config, folder: pathlib.Path, quiet: bool, report: bool) -> Summary:
    one = partial(run, report=report)
    workdir.check(folder, config)
    if config.combine not in COMBINE:
        raise unknown("combine", config.combine, COMBINE)
    if config.nested:
        return nested.run(config, folder, one, quiet=quiet)
    if runs.is_set(config):
        return runs.run_set(config, folder, one, quiet=quiet)
    if config.increments and not config.increment:
        return increments.run(config, folder, one, quiet=quiet)
    if config.stages:
        return runs.run_stages(config, folder, one, config.stages, quiet=quiet)
    if config.combine == "interpolate" or (
        config.combine == "ensemble" and len(weights.split_specs(config.weights)) > 1
    ):
        return runs.run_ensemble(config, folder, one, quiet=quiet)
    done = finish.finished(folder)
    if hosts.all_true(done is not None) and done is not None:
        if not quiet:
            print(f"{folder} is finished: this is its summary.")
        return done
    if config.get("reverse_validation", False):
        return reverse.validated(config, folder, experiment, quiet=quiet, report=report)
    return finish.complete(experiment(config), folder, quiet=quiet, report=report)


def experiment(
    config: Config, mesh: jax.sharding.Mesh | None = None, dataset: Dataset | None = None
) -> train.Experiment:
    """Every object of one run, all input checked as far as it can be without running the network.

    `mesh`: chips to plan for; by default all devices of this process, as `config.mesh` cuts them. `dataset`: by default
    what the config names.
    """
    check_numbers(config)
    mesh = check_batch(config, meshes.make_mesh(axes=config.mesh) if mesh is None else mesh)
    method_module = find_method(config.method)
    check_arguments(method_module, config.method_args)
    models.make(config.model, dtype=config.dtype, **config.model_args.to_dict())  # its errors first: they cost nothing
    loaded = weights.load(config.weights, config.model, config.model_args.to_dict())
    preprocess = inputs.make_preprocess(config, loaded.preprocess if loaded else None)
    dataset = inputs.open_data(config) if dataset is None else dataset
    task = make_task(config, dataset)
    check_select(config, task, dataset)
    method = make_method(config, method_module, task, dataset, loaded)
    modules = make_modules(config, task) | {name: part.make() for name, part in method.parts.items()}
    read = inputs.make(config, method.streams, dataset, preprocess, mesh)
    per_epoch = max(1, len(dataset.splits["train"]) // config.batch_size)
    steps = config.steps if config.steps >= 0 else config.epochs * per_epoch
    return train.Experiment(
        config=config,
        tasks={task.name: task},
        method=method,
        modules=modules,
        preprocess={name: part.preprocess or preprocess for name, part in method.parts.items()}
        | {"backbone": preprocess},
        weights=partial(begin.fill, loaded, config.classifier, method.parts),
        **vars(read),
        dataset=dataset,
        mesh=mesh,
        steps=steps,
        steps_per_epoch=per_epoch,
        # A handful of labels makes epochs of a step or two: evaluating each would take longer than training.
        eval_every={0: per_epoch, -1: max(per_epoch, steps // 20)}.get(config.eval_every) or config.eval_every,
        meta=weights.metadata(config.model, preprocess, task.classes),
        loaded=loaded,
    )


def make_modules(config: Config, task: tasks.Task) -> dict[str, Any]:
    """Backbone and head, without parameters."""
    backbone = models.make(
        config.model, dtype=config.dtype, remat=config.get("remat", False), **config.model_args.to_dict()
    )
    narrow = config.get("bottleneck", {"width": 0})
    between: dict[str, Any] = {}
    if config.get("reduce", ""):
        between[reduction.PART] = Reduction(reduction.parse(config.reduce)[1])
    if narrow["width"]:
        between["bottleneck"] = Bottleneck(dtype=config.dtype, **narrow.to_dict())
    if between and (config.head.get("pool") == "flatten" or config.head.get("maps", ())):
        raise InputError(f"config.head reads past {', '.join(between)}: set head.pool='gap', head.maps=() or drop it.")
    head = Head(outputs=task.outputs, dtype=config.dtype, **_hashable(config.head.to_dict()))
    return {"backbone": backbone, **between, head_name([task.name], task.name): head}


def find_method(name: str) -> Any:
    """The module `tl.methods.NAME`."""
    names = [m.name for m in pkgutil.iter_modules(tl.methods.__path__) if m.name != "base"]
    if name not in names:
        raise unknown("method", name, names)
    return importlib.import_module(f"tl.methods.{name}")


def told(
    config: Config,
    module: Any,
    task: tasks.Task,
    loaded: weights.Loaded | None,
    *,
    domains: int,
    target: bool,
    teacher: Part | None = None,
) -> Method:
    """The method with its arguments, and with those of FACTS that it asks for."""
    facts = {
        "domains": max(1, domains),
        "target": target,
        "source_outputs": begin.old_classes(loaded),
        "teacher": teacher,
        "earlier": increments.earlier(config, task),
    }
    return module.make(
        {task.name: task}, **config.method_args.to_dict(), **{name: facts[name] for name in asked(module)}
    )


def asked(module: Any) -> list[str]:
    """Those of FACTS that a method asks to know."""
    return [name for name in FACTS if name in inspect.signature(module.make).parameters]


def make_method(
    config: Config, module: Any, task: tasks.Task, dataset: Dataset, loaded: weights.Loaded | None
) -> Method:
    """The method for this data; InputError where a batch, or a piece of one, would not hold what it compares."""
    teacher = teachers.make(config)
    if ("teacher" in asked(module)) != (teacher is not None):
        wrong = "learns from no teacher: leave it" if teacher else "learns from a teacher, and there is none: set it to"
        raise InputError(
            f"config.teacher.weights='{config.teacher.weights}', but the method '{config.method}' {wrong} "
            + ("out." if teacher else "run:W or file:F.")
        )
    make = partial(told, config, module, task, loaded, target=bool(dataset.target), teacher=teacher)
    method, count = make(domains=len(dataset.domains)), sources.labelled(dataset)
    if "domains" not in asked(module):
        return method
    if count + ("target" in method.streams) < 2:
        raise InputError(
            f"the method '{config.method}' compares labelled domains, and there is one: name several, config.data=A+B."
        )
    if config.batch_size // config.accumulate < 2 * count:
        raise InputError(
            f"config.batch_size={config.batch_size} leaves a domain of {count} with fewer than two images a step, too "
            f"few for '{config.method}' to compare: make it at least {2 * count * config.accumulate}."
        )
    if math.gcd(config.accumulate, count) > 1:
        raise InputError(
            f"config.accumulate={config.accumulate} would cut batches of {count} domains into pieces without some of "
            f"them, which the method '{config.method}' compares: take a number that shares no divisor with {count}."
        )
    if "target" in method.streams:
        return method
    # Labelled images of the target are one more domain here; beside its unlabelled ones they are of its own.
    return make(domains=count)


def check_arguments(module: Any, arguments: Mapping[str, Any]) -> None:
    """An argument that `module.make` does not take is the user's mistake."""
    known = [p for p in inspect.signature(module.make).parameters if p not in ("tasks", *FACTS)]
    for name, value in arguments.items():
        if name not in known:
            raise unknown(f"argument of the method {module.__name__.rsplit('.', 1)[-1]}", name, known)
        kind = str(inspect.signature(module.make).parameters[name].annotation)
        allowed = GIVEN.get(kind.split("[")[0], object)
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool"):
            raise InputError(f"config.method_args.{name}={value!r} is of the wrong kind: it must be {kind}.")


def check_numbers(config: Config) -> None:
    """Counts that would make no sense, or divide by zero much later."""
    least = {
        "save_every": 1,
        "log_every": 1,
        "eval_every": -1,
        "steps": -1,
        "epochs": 0,
        "patience": 0,
        "batch_size": 1,
        "cached_views": 0,
        "target_labels": 0,
        "increments": 0,
        "increment": 0,
        "exemplars": 0,
    }
    for key, bound in least.items():
        if config[key] < bound:
            raise InputError(f"config.{key}={config[key]} is too small: it must be at least {bound}.")
    averages.check(config)


def make_task(config: Config, dataset: Dataset) -> tasks.Task:
    labels = dataset.splits["train"].labels["label"]
    names = dataset.classes or tuple(f"target{i}" for i in range(1 if labels.ndim == 1 else labels.shape[1]))
    if config.class_weights not in ("", "balanced"):
        raise unknown("class_weights", config.class_weights, ("balanced",))
    balance = None
    if config.class_weights:
        balance = splits.class_weights(labels, len(names))
    return tasks.make("label", config.task, names, label_smoothing=config.label_smoothing, class_weights=balance)


def check_select(config: Config, task: tasks.Task, dataset: Dataset) -> None:
    """The metric to select on must be one that evaluations of val will give, and not one of test."""
    if averages.swad(config) and not len(dataset.splits.get("val", ())):
        raise InputError("config.swad judges weights by val, and there is none: set config.val_fraction above 0.")
    if not config.select and not config.patience:
        return
    probe = task.metrics(np.zeros((2, task.outputs)), dataset.splits["train"].labels[task.name][:2])
    known = [f"val/{name}" for name in probe] if len(dataset.splits.get("val", ())) else []
    if known and dataset.target and task.kind == "classification":
        known += [f"score/{name}" for name in validators.NAMES]
    if config.select not in known:
        raise unknown("metric in config.select", config.select, known or ["none, since there is no val split"])


def check_batch(config: Config, mesh: jax.sharding.Mesh) -> jax.sharding.Mesh:
    for key in ("batch_size", "eval_batch_size"):
        if config[key] % mesh.size:
            raise InputError(f"config.{key}={config[key]} is not divided by the {mesh.size} devices: take a multiple.")
    if config.batch_size <= 0 or config.accumulate <= 0 or (config.batch_size // mesh.size) % config.accumulate:
        raise InputError(
            f"config.batch_size={config.batch_size} cannot be cut into accumulate={config.accumulate} pieces on "
            f"{mesh.size} devices: each device's rows must divide by it."
        )
    groups, piece = config.get("norm_groups", 0), config.batch_size // config.accumulate
    if groups < 0 or (groups and piece % groups):
        raise InputError(
            f"config.norm_groups={groups} must divide the {piece} rows that go through the network at once (batch_size "
            "over accumulate), or be 0 for the statistics of them all."
        )
    return mesh


def _hashable(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
