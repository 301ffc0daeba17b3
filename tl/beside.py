"""A knowledge graph beside images: its triples as a second stream, its hierarchy as a measure of mistakes."""

from __future__ import annotations

import dataclasses

import numpy as np

from tl import metrics
from tl.config import Config
from tl.data import graph, hierarchy
from tl.data.base import Dataset, Split
from tl.errors import InputError
from tl.graphs import Graph
from tl.tasks import Task

OFF = {"data": "", "mistakes": False}


def entities_of(config: Config, classes: tuple[str, ...], every: list[graph.Triple]) -> dict[str, str]:
    """{class: its entity} of config.graph in order; InputError for a class without one, or one in no triple."""
    given = config.graph.entities.to_dict()
    for name in classes:
        if name not in given:
            raise InputError(f"config.graph.entities names no entity for the class '{name}': give each class one.")
    named = {name: str(given[name]) for name in classes}
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


def with_triples(config: Config, dataset: Dataset) -> Dataset:
    """The data with the split `triples`, where config.graph.hops asks for it."""
    if dataset.tasks and config.get("graph", OFF)["mistakes"]:
        raise InputError("config.graph.mistakes is about the classes of one task: leave it or config.tasks out.")
    if not config.get("graph", {}).get("hops", 0):
        return dataset
    if dataset.field != "image" or dataset.tasks or not dataset.classes:
        raise InputError("config.graph stands beside images, or vectors, of one task with classes: leave it out.")
    return dataclasses.replace(dataset, splits={**dataset.splits, "triples": triples(config, dataset.classes)[0]})


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
