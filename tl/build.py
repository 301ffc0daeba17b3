"""Config -> objects -> a run, or a set of runs. The only place that looks methods up by name."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

import tl.methods
from tl import finish, hosts, models, runs, tasks, train, weights, workdir
from tl import mesh as meshes
from tl.config import Config
from tl.data import images, sources, splits, streams, transforms
from tl.data.base import Dataset, Split
from tl.errors import InputError, unknown
from tl.methods.base import head_name
from tl.models.heads import Head
from tl.preprocess import Preprocess

Summary = dict[str, Any]


def run(config: Config, folder: pathlib.Path | str, *, quiet: bool = False) -> Summary:
    """Carry out what the config asks for in `folder`, or go on with it, and return `summary.json`."""
    quiet = quiet or jax.process_index() != 0
    summary = _run(config, pathlib.Path(folder), quiet)
    hosts.barrier("run")  # host 0 has written what a later stage, or the next start, reads
    return summary


def _run(config: Config, folder: pathlib.Path, quiet: bool) -> Summary:
    workdir.check(folder, config)
    if config.combine not in ("soup", "ensemble"):
        raise unknown("combine", config.combine, ("soup", "ensemble"))
    if runs.is_set(config):
        return runs.run_set(config, folder, run, quiet=quiet)
    if config.stages:
        return runs.run_stages(config, folder, run, quiet=quiet)
    if config.combine == "ensemble" and len(weights.split_specs(config.weights)) > 1:
        return runs.run_ensemble(config, folder, run, quiet=quiet)
    done = finish.finished(folder)
    if hosts.all_true(done is not None) and done is not None:
        if not quiet:
            print(f"{folder} is finished: this is its summary.")
        return done
    return finish.complete(experiment(config), folder, quiet=quiet)


def experiment(config: Config, mesh: jax.sharding.Mesh | None = None) -> train.Experiment:
    """Every object of one run, all input checked as far as it can be without running the network.

    `mesh`: chips to plan for; by default all devices of this process, as `config.mesh` cuts them.
    """
    check_numbers(config)
    mesh = check_batch(config, meshes.make_mesh(axes=config.mesh) if mesh is None else mesh)
    method_module = find_method(config.method)
    check_arguments(method_module, config.method_args)
    models.make(config.model, dtype=config.dtype, **config.model_args.to_dict())  # its errors first: they cost nothing
    loaded = weights.load(config.weights, config.model, config.model_args.to_dict())
    preprocess = make_preprocess(config, loaded.preprocess if loaded else None)
    images.use(config.image_library)
    dataset = open_data(config)
    task = make_task(config, dataset)
    check_select(config, task, dataset)
    method = method_module.make({task.name: task}, **config.method_args.to_dict())
    modules = make_modules(config, task) | {name: part.make() for name, part in method.parts.items()}
    train_split = dataset.splits["train"]
    per_epoch = max(1, len(train_split) // config.batch_size)
    steps = config.steps if config.steps >= 0 else config.epochs * per_epoch
    evaluation = transforms.compose(transforms.evaluation(preprocess))
    eval_batch = config.eval_batch_size or config.batch_size
    return train.Experiment(
        config=config,
        tasks={task.name: task},
        method=method,
        modules=modules,
        preprocess={name: part.preprocess or preprocess for name, part in method.parts.items()}
        | {"backbone": preprocess},
        weights=partial(fill, loaded, config.classifier),
        streams={
            name: streams.train_stream(
                train_split,
                transforms.compose(training_transforms(config, preprocess)),
                batch_size=config.batch_size,
                seed=config.seed,
                name=name,
            )
            for name in method.streams
        },
        evals={
            name: streams.eval_batches(dataset.splits[name], evaluation, eval_batch, mesh)
            for name in ("val", "test")
            if len(dataset.splits.get(name, ()))
        },
        views=random_views(config, train_split, preprocess, eval_batch, mesh, method.streams),
        passes={name: streams.eval_batches(train_split, evaluation, eval_batch, mesh) for name in method.streams},
        dataset=dataset,
        mesh=mesh,
        steps=steps,
        steps_per_epoch=per_epoch,
        # A handful of labels makes epochs of a step or two: evaluating each would take longer than training.
        eval_every={0: per_epoch, -1: max(per_epoch, steps // 20)}.get(config.eval_every) or config.eval_every,
        meta=weights.metadata(config.model, preprocess, task.classes),
    )


def random_views(
    config: Config, split: Split, preprocess: Preprocess, batch: int, mesh: jax.sharding.Mesh, names: Sequence[str]
) -> dict[str, streams.EvalBatches]:
    """`cached_views` passes over a split in one, each image drawn anew in each; {} where none are to be kept."""
    if not config.cached_views:
        return {}
    if not config.train_transforms:
        raise InputError(
            "config.cached_views keeps random views, but config.train_transforms is empty: set one of them."
        )
    repeated = split.take(np.tile(np.arange(len(split)), config.cached_views))
    transform = transforms.compose(training_transforms(config, preprocess))
    return {name: streams.eval_batches(repeated, transform, batch, mesh) for name in names}


def make_modules(config: Config, task: tasks.Task) -> dict[str, Any]:
    """Backbone and head, without parameters."""
    backbone = models.make(
        config.model, dtype=config.dtype, remat=config.get("remat", False), **config.model_args.to_dict()
    )
    head = Head(outputs=task.outputs, dtype=config.dtype, **_hashable(config.head.to_dict()))
    return {"backbone": backbone, head_name([task.name], task.name): head}


def find_method(name: str) -> Any:
    """The module `tl.methods.NAME`."""
    names = [m.name for m in pkgutil.iter_modules(tl.methods.__path__) if m.name != "base"]
    if name not in names:
        raise unknown("method", name, names)
    return importlib.import_module(f"tl.methods.{name}")


def check_arguments(module: Any, arguments: Mapping[str, Any]) -> None:
    """An argument that `module.make` does not take is the user's mistake."""
    known = [p for p in inspect.signature(module.make).parameters if p != "tasks"]
    for name in arguments:
        if name not in known:
            raise unknown(f"argument of the method {module.__name__.rsplit('.', 1)[-1]}", name, known)


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
    }
    for key, bound in least.items():
        if config[key] < bound:
            raise InputError(f"config.{key}={config[key]} is too small: it must be at least {bound}.")
    if not 0 <= config.ema < 1:
        raise InputError(f"config.ema={config.ema} must be a decay, 0 <= ema < 1 (0: none).")


def open_data(config: Config) -> Dataset:
    return sources.open_source(
        config.data,
        seed=config.seed,
        val_fraction=config.val_fraction,
        per_class=config.labels_per_class,
        fold=(config.fold, config.folds) if config.fold >= 0 else None,
        skip_broken=config.skip_broken,
        classes=config.classes,
        kind=config.task,
    )


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
    if not config.select and not config.patience:
        return
    probe = task.metrics(np.zeros((2, task.outputs)), dataset.splits["train"].labels[task.name][:2])
    known = [f"val/{name}" for name in probe] if len(dataset.splits.get("val", ())) else []
    if config.select not in known:
        raise unknown("metric in config.select", config.select, known or ["none, since there is no val split"])


def make_preprocess(config: Config, own: Preprocess | None) -> Preprocess:
    """The weights' preprocessing, else the model's, with what the config sets in its place."""
    base = own or models.preprocess(config.model)
    size = config.image_size or base.size
    resize = config.resize or round(size * base.resize / base.size)
    if resize < size:
        raise InputError(
            f"config.resize={resize} is smaller than the crop of image_size={size}: make it at least that."
        )
    return Preprocess(size, resize, tuple(config.mean) or base.mean, tuple(config.std) or base.std)


def training_transforms(config: Config, preprocess: Preprocess) -> list[tuple[str, dict[str, Any]]]:
    """The config's transforms; they act on the evaluation's crop unless one of them sets the size itself."""
    listed = [(name, dict(arguments)) for name, arguments in config.train_transforms]
    for name, arguments in listed:
        if name in ("random_resized_crop", "random_crop", "resize"):
            arguments.setdefault("size", preprocess.size)
    sized = any(name in ("random_resized_crop", "resize") for name, _ in listed)
    return listed if sized else [*transforms.evaluation(preprocess), *listed]


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


def fill(loaded: weights.Loaded | None, classifier: str, shapes: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
    """The leaves of the network that the weights fill; none of them where there are no weights."""
    if loaded is None:
        if classifier == "keep":
            raise InputError(
                "config.weights is 'none', but the classifier is to be kept: name weights, e.g. weights=file:F."
            )
        return {}
    wanted = {path: leaf.shape for path, leaf in shapes.items()}
    # An earlier run's file may hold its method's own parts, which mean nothing to another method.
    parts = {path.split("/")[1] for path in wanted} | {"backbone", "head"}
    flat = {path: leaf for path, leaf in loaded.flat.items() if path.split("/")[1] in parts}
    return weights.merge(wanted, flat, head=classifier)


def _hashable(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
