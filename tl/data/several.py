"""Several tasks on the same images, or each on its own: one data set whose rows have a label for each task, or none."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl.data import domains, labels
from tl.data.base import Dataset, Split, concatenate
from tl.data.measured import MEASURES, measured
from tl.data.sources import open_source
from tl.errors import InputError, unknown

SOURCES = ("label", "domain", *MEASURES)
# What else a batch, or a prediction, holds.
TAKEN = (
    *("image", "tokens", "text", "triple", "known", "index", "mask", "domain"),
    *("features", "query", "episode", "file", "probabilities"),
)
KEYS = ("of", "kind", "data", "layer")


def open_tasks(sources: str, tasks: Sequence[tuple[str, Mapping[str, Any]]], **how: Any) -> Dataset:
    """`A+B+...`, with labels for each of the `tasks`, (name, {"of", "kind", "data", "layer"}); see common.py.

    A row that a task says nothing of has the label -1, or NaN. Rows of several sources have a field `domain`.
    Raises InputError for a task without labels, and for sources of different classes that share a task.
    """
    specs = [spec.strip() for spec in sources.split("+")]
    if "" in specs:
        raise InputError(f"config.data='{sources}' has nothing on one side of a '+': several sources are written A+B.")
    wanted = read_tasks(tasks)
    names = domains.short_names(specs)
    places = {name: place_of(name, task, names) for name, task in wanted.items()}
    opened = []
    for number, spec in enumerate(specs):
        own = [name for name, task in wanted.items() if is_own(task) and is_about(places[name], number)]
        if len(own) > 1:
            raise InputError(f"config.tasks: {' and '.join(own)} are both the labels of '{spec}': keep one.")
        kind = wanted[own[0]].get("kind", "classification") if own else "classification"
        opened.append(open_source(spec, **how, kind=kind))
    for name, task in wanted.items():
        if is_own(task) and places[name] is None:
            domains.check_classes(list(zip(names, opened, strict=True)))
    domains.check_widths(list(zip(names, opened, strict=True)))
    found = {name: about(task, opened[places[name] or 0], names) for name, task in wanted.items()}

    def labelled(split: Split, number: int) -> Split:
        own = labels_of(split, number, {name: is_about(places[name], number) for name in wanted}, wanted, found)
        return dataclasses.replace(split, labels=own | ({"domain": numbered(split, number)} if len(specs) > 1 else {}))

    held = {
        name: functools.reduce(
            concatenate, [labelled(part.splits[name], i) for i, part in enumerate(opened) if name in part.splits]
        )
        for name in ("train", "val", "test")
        if any(name in part.splits for part in opened)
    }
    digest = hashlib.sha256(" ".join(part.fingerprint for part in opened).encode()).hexdigest()
    first = next(iter(found.values()))
    return Dataset(
        held, first[1] if first[0] in labels.CLASS_KINDS else (), digest, names if len(specs) > 1 else (), tasks=found
    )


def read_tasks(tasks: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """config.tasks by name; InputError for what is no pair of a name and a table, and for a name that cannot be."""
    wanted: dict[str, dict[str, Any]] = {}
    for pair in tasks:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[1], Mapping)):
            raise InputError(f"config.tasks holds {pair!r}: write (NAME, {{...}}) for each task.")
        name = str(pair[0])
        if not re.fullmatch(r"[A-Za-z]\w*", name) or name in TAKEN:
            raise InputError(
                f"config.tasks: '{name}' cannot be a task's name: letters, digits and _, but not {', '.join(TAKEN)}."
            )
        if name in wanted:
            raise InputError(f"config.tasks names '{name}' twice: give each task a name of its own.")
        wanted[name] = dict(pair[1])
    return wanted


def is_own(task: Mapping[str, Any]) -> bool:
    """Whether a task is the labels that the data itself brings."""
    return task.get("of", "label") == "label"


def place_of(name: str, task: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The number of the source that a task is about, None for all; InputError for a task that cannot be."""
    for key in task:
        if key not in KEYS:
            raise unknown(f"key in config.tasks.{name}", key, KEYS)
    if task.get("of", "label") not in SOURCES:
        raise unknown(f"source of labels in config.tasks.{name}.of", task["of"], SOURCES)
    if task.get("kind") and not is_own(task):
        raise InputError(f"config.tasks.{name}.kind is about the data's own labels: leave it out for '{task['of']}'.")
    if task.get("kind") == "tags":
        raise InputError(
            f"config.tasks.{name}.kind='tags' is learnt alone: set config.task='tags' and no config.tasks."
        )
    data = task.get("data", "")
    if data and data not in names:
        raise unknown(f"data in config.tasks.{name}.data", data, names)
    if task.get("of") == "domain" and (data or len(names) < 2):
        raise InputError(f"config.tasks.{name} tells sources apart: name several in config.data=A+B, and no data.")
    return names.index(data) if data else None


def about(task: Mapping[str, Any], opened: Dataset, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The kind of a task and its classes, or the names of its targets."""
    source = task.get("of", "label")
    if source == "label":
        kind = task.get("kind", "classification")
        stored = opened.splits["train"].labels["label"]
        return kind, opened.classes or tuple(f"target{i}" for i in range(1 if stored.ndim == 1 else stored.shape[1]))
    return ("classification", names) if source == "domain" else ("regression", (source,))


def is_about(place: int | None, number: int) -> bool:
    return place is None or place == number


def numbered(split: Split, number: int) -> np.ndarray:
    return np.full(len(split), number, np.int32)


def labels_of(
    split: Split,
    number: int,
    known: Mapping[str, bool],
    wanted: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, tuple[str, tuple[str, ...]]],
) -> dict[str, np.ndarray]:
    """What each task says of the images of source `number`; -1 or NaN where it is not `known` there."""
    sources = {name: task.get("of", "label") for name, task in wanted.items()}
    rows = measured(split, [source for name, source in sources.items() if source in MEASURES and known[name]])
    own = {}
    for name, source in sources.items():
        kind, names = found[name]
        if not known[name]:
            shape = len(split) if len(names) == 1 else (len(split), len(names))
            of_classes = kind in labels.CLASS_KINDS
            own[name] = numbered(split, -1) if of_classes else np.full(shape, np.nan, np.float32)
        elif source == "domain":
            own[name] = numbered(split, number)
        else:
            own[name] = split.labels["label"] if source == "label" else rows[source]
    return own
