"""Config -> objects -> a run, or a set of runs. The only place that looks methods up by name."""

from __future__ import annotations

import importlib
import inspect
import json
import pathlib
import pkgutil
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

import tl.methods
from tl import (
    begin,
    beside,
    checks,
    finish,
    hosts,
    increments,
    inputs,
    models,
    nested,
    prepared,
    reduction,
    reverse,
    runs,
    tasks,
    teachers,
    train,
    views,
    weights,
    workdir,
    zero_shot,
)
from tl import mesh as meshes
from tl.config import Config
from tl.data import domains as sources
from tl.data import splits
from tl.data.base import Dataset
from tl.episodes import Episodes
from tl.errors import InputError, unknown
from tl.graphs import Graph
from tl.methods.base import FACTS, Method, Part
from tl.models.heads import Bottleneck, Head, Reduction
from tl.report import tracking
from tl.tasks import head_name, layers_of

Summary = dict[str, Any]
Tasks = Mapping[str, tasks.Task]
COMBINE = ("soup", "ensemble", "interpolate")


def run(
    config: Config,
    folder: pathlib.Path | str,
    *,
    quiet: bool = False,
    report: bool = True,
    watch: train.Watch | None = None,
) -> Summary:
    """Carry out what the config asks for in `folder`, or go on with it, and return `summary.json`.

    Without `report` no run in it writes a page of its own. `watch` sees every evaluation of a run that is not made of
    several, and may end it by raising what it likes.
    """
    quiet = quiet or jax.process_index() != 0
    summary = _run(config, pathlib.Path(folder), quiet, report, watch)
    hosts.barrier("run")  # host 0 has written what a later stage, or the next start, reads
    return summary


def _run(config: Config, folder: pathlib.Path, quiet: bool, report: bool, watch: train.Watch | None) -> Summary:
    one = partial(run, report=report)
    workdir.check(folder, config)
    tracking.asked(config.get("tracking", ""))
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
    made = experiment(config)
    also = {"also": zero_shot.judge(config, made.dataset)} if zero_shot.asked(config) else {}
    return finish.complete(made, folder, quiet=quiet, report=report, watch=watch, **also)


def experiment(
    config: Config, mesh: jax.sharding.Mesh | None = None, dataset: Dataset | None = None
) -> train.Experiment:
    """Every object of one run, all input checked as far as it can be without running the network.

    `mesh`: chips to plan for; by default all devices of this process, as `config.mesh` cuts them. `dataset`: by default
    what the config names.
    """
    checks.numbers(config)
    mesh = checks.batch(config, meshes.make_mesh(axes=config.mesh) if mesh is None else mesh)
    method_module = find_method(config.method)
    checks.arguments(method_module, config.method_args)
    zero_shot.check(config, "nodes" in asked(method_module))
    models.make(config.model, dtype=config.dtype, **config.model_args.to_dict())  # its errors first: they cost nothing
    loaded = weights.load(config.weights, config.model, config.model_args.to_dict())
    teacher = teachers.make(config)
    open_it = zero_shot.open_rows if zero_shot.asked(config) else inputs.open_data
    dataset = open_it(config) if dataset is None else dataset
    dataset, graph = beside.with_triples(config, dataset, "graph" in asked(method_module))
    checks.graph(config, dataset, loaded)
    inputs.check_kind(config, dataset)
    preprocess, loaded, dataset = prepared.make(config, loaded, teacher.preprocess if teacher else None, dataset)
    arguments = prepared.arguments(config, loaded, preprocess)
    wanted = make_tasks(config, dataset)
    checks.select(config, wanted, dataset)
    method = make_method(config, method_module, wanted, dataset, loaded, teacher, graph)
    modules = make_modules(config, wanted, method.heads, arguments)
    modules |= {name: part.make() for name, part in method.parts.items()}
    read = inputs.make(config, method, dataset, preprocess, mesh)
    per_epoch = max(1, len(dataset.splits["train"]) // config.batch_size)
    steps = config.steps if config.steps >= 0 else config.epochs * per_epoch
    checks.online(config, method, steps)
    views.check(config.get("eval_views", ()), pictures=dataset.splits["train"].pictures)
    if checks.private(config, method):
        checks.seen_alike(config, dataset)
    return train.Experiment(
        config=config,
        tasks=wanted,
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
        meta=weights.metadata(config.model, preprocess, first(wanted).classes)
        | {name: json.dumps(held) for name in ("tasks", "relations") if (held := getattr(dataset, name))}
        | prepared.lasting(preprocess, arguments)
        | beside.lasting(graph),
        loaded=loaded,
    )


def first(wanted: Tasks) -> tasks.Task:
    """Of several the one whose classes stand in the weights' file."""
    return next(iter(wanted.values()))


def make_modules(config: Config, wanted: Tasks, heads: bool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Backbone with its `arguments` and, with `heads`, those of the tasks, without parameters."""
    backbone = models.make(config.model, dtype=config.dtype, remat=config.get("remat", False), **arguments)
    narrow = config.get("bottleneck", {"width": 0})
    between: dict[str, Any] = {}
    if config.get("reduce", ""):
        between[reduction.PART] = Reduction(reduction.parse(config.reduce)[1])
    layers = dict.fromkeys(layers_of(config.get("tasks", ())).values())
    if layers and not narrow["width"]:
        raise InputError("config.tasks shares layers, whose form is that of a bottleneck: set config.bottleneck.width.")
    # Tasks that share a layer have it in place of the bottleneck of all.
    for part in layers or (["bottleneck"] if narrow["width"] else []):
        between[part] = Bottleneck(dtype=config.dtype, **narrow.to_dict())
    if between and (config.head.get("pool") == "flatten" or config.head.get("maps", ())):
        raise InputError(f"config.head reads past {', '.join(between)}: set head.pool='gap', head.maps=() or drop it.")
    head = {name: tuple(value) if isinstance(value, list) else value for name, value in config.head.to_dict().items()}
    how = {"dtype": config.dtype, **head}
    of_tokens = {"tags": getattr(backbone, "token_map", "")}
    last = {
        head_name(list(wanted), task.name): Head(task.outputs, tokens=of_tokens.get(task.kind, ""), **how)
        for task in wanted.values()
    }
    return {"backbone": backbone, **between, **(last if heads else {})}


def find_method(name: str) -> Any:
    """The module `tl.methods.NAME`."""
    names = [m.name for m in pkgutil.iter_modules(tl.methods.__path__) if m.name != "base"]
    if name not in names:
        raise unknown("method", name, names)
    return importlib.import_module(f"tl.methods.{name}")


def told(
    config: Config,
    module: Any,
    wanted: Tasks,
    loaded: weights.Loaded | None,
    *,
    domains: int,
    target: bool,
    teacher: Part | None = None,
    episodes: Episodes | None = None,
    relations: int = 0,
    nodes: Any = None,
    graph: Graph | None = None,
) -> Method:
    """The method with its arguments, and with those of FACTS that it asks for; `episodes`: by default the config's."""
    episodes = episodes or inputs.episodes_of(config)
    if ("episodes" in asked(module)) != (episodes is not None):
        wrong = "learns from none" if episodes else "learns from episodes: set way, shot, query and count"
        raise InputError(f"config.episode.way={config.episode.way}, but the method '{config.method}' {wrong}.")
    if len({"relations" in asked(module), config.task == "ranking", bool(relations)}) > 1:
        raise InputError(
            f"config.data='{config.data}', config.task='{config.task}' and the method '{config.method}' do not go "
            "together: a knowledge graph, kg:FILE, is ranked, by a method that learns relations, and nothing else is."
        )
    facts = {
        "domains": max(1, domains),
        "target": target,
        "source_outputs": begin.old_classes(loaded),
        "teacher": teacher,
        "earlier": increments.earlier(config, first(wanted)),
        "episodes": episodes,
        "relations": relations,
        "nodes": nodes,
        "layers": layers_of(config.get("tasks", ())),
        "graph": graph,
    }
    return module.make(wanted, **config.method_args.to_dict(), **{name: facts[name] for name in asked(module)})


def asked(module: Any) -> list[str]:
    """Those of FACTS that a method asks to know."""
    return [name for name in FACTS if name in inspect.signature(module.make).parameters]


def make_method(
    config: Config,
    module: Any,
    wanted: Tasks,
    dataset: Dataset,
    loaded: weights.Loaded | None,
    teacher: Part | None,
    graph: Graph | None,
) -> Method:
    """The method for this data; InputError where a batch, or a piece of one, would not hold what it compares."""
    if ("teacher" in asked(module)) != (teacher is not None):
        wrong = "learns from no teacher: leave it" if teacher else "learns from a teacher, and there is none: set it to"
        raise InputError(
            f"config.teacher.weights='{config.teacher.weights}', but the method '{config.method}' {wrong} "
            + ("out." if teacher else "run:W or file:F.")
        )
    about = {"target": bool(dataset.target), "teacher": teacher, "relations": len(dataset.relations)}
    make = partial(told, config, module, wanted, loaded, **about, nodes=dataset.nodes, graph=graph)
    method, count = make(domains=len(dataset.domains)), sources.labelled(dataset)
    if "domains" not in asked(module) and not (dataset.tasks and dataset.domains):
        return method
    if count + ("target" in method.streams) < 2:
        raise InputError(
            f"the method '{config.method}' compares labelled domains, and there is one: name several, config.data=A+B."
        )
    checks.compared(config, count)
    if "target" in method.streams or dataset.tasks:
        return method
    # Labelled images of the target are one more domain here; beside its unlabelled ones they are of its own.
    return make(domains=count)


def make_tasks(config: Config, dataset: Dataset) -> dict[str, tasks.Task]:
    """By name: those of config.tasks, else the one of config.task."""
    if dataset.tasks:
        return {name: tasks.of_some(tasks.make(name, *about)) for name, about in dataset.tasks.items()}
    return {"label": beside.measured(config, make_task(config, dataset))}


def make_task(config: Config, dataset: Dataset) -> tasks.Task:
    labels = dataset.splits["train"].labels["label"]
    episodes = inputs.episodes_of(config)
    if episodes and episodes.train:
        if config.label_smoothing or config.class_weights:
            raise InputError("config.label_smoothing and class_weights are about known classes: episodes have none.")
        return tasks.make("label", config.task, tuple(f"class {number + 1}" for number in range(episodes.test.way)))
    names = dataset.classes or tuple(f"target{i}" for i in range(1 if labels.ndim == 1 else labels.shape[1]))
    if config.class_weights not in ("", "balanced"):
        raise unknown("class_weights", config.class_weights, ("balanced",))
    balance = splits.class_weights(labels, len(names)) if config.class_weights else None
    return tasks.make("label", config.task, names, label_smoothing=config.label_smoothing, class_weights=balance)
