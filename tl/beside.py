"""A knowledge graph beside images: its triples as a second stream, its hierarchy as a measure of mistakes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np

from tl import metrics
from tl.config import Config
from tl.data import graph, hierarchy
from tl.data.base import Dataset, Split
from tl.errors import InputError
from tl.graphs import Graph
from tl.tasks import Task

OFF = {"data": "", "entities": {}, "mistakes": False, "hops": 0}
NAME = "graph"  # of what a run's weights say of it


def entities_of(config: Config, classes: tuple[str, ...], every: list[graph.Triple]) -> dict[str, str]:
    """{class: its entity} of config.graph in order; InputError for a class without one, or one in no triple.

    Two classes are two entities: prototypes that are one could not be told apart.
    """
    given = config.graph.entities.to_dict()
    for name in classes:
        if name not in given:
            raise InputError(f"config.graph.entities names no entity for the class '{name}': give each class one.")
    named = {name: str(given[name]) for name in classes}
    first: dict[str, str] = {}
    for name, entity in named.items():
        if first.setdefault(entity, name) != name:
            raise InputError(
                f"config.graph.entities gives '{entity}' to the classes '{first[entity]}' and '{name}': give each one "
                "of its own."
            )
    hierarchy.check_entities(named, every, config.graph.data)
    return named


def triples(config: Config, classes: tuple[str, ...]) -> tuple[Split, Graph]:
    """The triples around the classes as rows, and what a method needs to know of them."""
    if not config.graph.hops:
        raise InputError(f"the method '{config.method}' learns a graph beside images: set config.graph.data, hops, ...")
    every = graph.triples_of(config.graph.data)
    named = entities_of(config, classes, every)
    near = hierarchy.around(every, list(named.values()), config.graph.hops)
    rows, entities, relations = graph.questions(near)
    return rows, Graph(len(entities), len(relations), tuple(entities.index(name) for name in named.values()))


def with_triples(config: Config, dataset: Dataset, learns: bool) -> tuple[Dataset, Graph | None]:
    """The data with the split `triples` and what they are, where the method `learns` them; else as it is, and None."""
    check(config, learns)
    if dataset.tasks and config.get("graph", OFF)["mistakes"]:
        raise InputError("config.graph.mistakes is about the classes of one task: leave it or config.tasks out.")
    if not learns:
        return dataset, None
    if dataset.field != "image" or dataset.tasks or not dataset.classes:
        raise InputError("config.graph stands beside images, or vectors, of one task with classes: leave it out.")
    rows, about = triples(config, dataset.classes)
    return dataclasses.replace(dataset, splits={**dataset.splits, "triples": rows}), about


def check(config: Config, learns: bool) -> None:
    """InputError for keys of config.graph that nothing would read, the method `learns` triples or not."""
    asked = {**OFF, **config.get("graph", {})}  # an older run has no hops
    if asked["hops"] < 0:
        raise InputError(f"config.graph.hops={asked['hops']} is too small: it must be at least 1, or 0 for none.")
    if asked["hops"] and not learns:
        raise InputError(
            f"config.graph.hops={asked['hops']}, but the method '{config.method}' learns no graph beside images: "
            "leave it out."
        )
    used = [f"{name}={asked[name]}" for name in ("mistakes", "hops") if asked[name]]
    if used and not asked["data"]:
        raise InputError(f"config.graph.data is empty, and config.graph.{used[0]} reads it: set it to kg:FILE.")
    given = next((name for name in ("data", "entities") if asked[name]), None)
    if given and not used and not learns:
        raise InputError(
            f"config.graph.{given} is read by nothing here: set graph.mistakes=True to measure mistakes by it, take a "
            "method that learns it, or leave it out."
        )


def lasting(about: Graph | None) -> dict[str, str]:
    """What the weights' file says of a graph that was learnt, for prediction to need none."""
    return {NAME: json.dumps(dataclasses.asdict(about))} if about else {}


def learnt(config: Config, classes: tuple[str, ...], meta: Mapping[str, str]) -> Graph:
    """The graph by the metadata of a run's weights; of a run from before they said so, by config.graph.data."""
    if NAME not in meta:
        return triples(config, classes)[1]
    held = json.loads(meta[NAME])
    return Graph(held["entities"], held["relations"], tuple(held["classes"]))


def measured(config: Config, task: Task) -> Task:
    """The task with `metrics.severity` among its metrics, where config.graph.mistakes asks for it."""
    asked = config.get("graph", OFF)
    if not asked["mistakes"]:
        return task
    if task.kind != "classification":
        raise InputError(f"config.graph.mistakes measures mistaken classes: it needs no task of kind '{task.kind}'.")
    every = graph.triples_of(asked["data"])
    named = entities_of(config, task.classes, every)
    heights, paths = hierarchy.apart(hierarchy.parents(every, asked["data"]), named)
    plain = task.metrics

    def both(outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return {**plain(outputs, labels), **metrics.severity(outputs, labels, heights, paths)}

    return dataclasses.replace(task, metrics=both)
