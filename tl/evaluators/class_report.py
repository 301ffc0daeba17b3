"""The confusion matrix and the class report of every evaluation, kept beside the scalars."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tl import metrics
from tl.evaluators import figures
from tl.evaluators.collect import Collected
from tl.report.files import write_atomic
from tl.tasks import Task, known


class Tables(NamedTuple):
    """Counts (C, C), rows true, and precision, recall, f1 and support of each of `names`: classes, or entities."""

    confusion: np.ndarray
    names: tuple[str, ...]
    report: Mapping[str, np.ndarray]


def tables(task: Task, labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> Tables | None:
    """What can be counted of rows that all have a label; None for a kind of task that counts nothing."""
    if task.kind not in ("classification", "binary", "tags"):
        return None
    predicted = probabilities.argmax(axis=-1)
    if task.kind == "tags":
        types, report, _ = metrics.entities(labels, predicted, classes)
        asked = labels >= 0
        return Tables(metrics.confusion(labels[asked], predicted[asked], len(classes)), types, report)
    matrix = metrics.confusion(labels, predicted, len(classes))
    return Tables(matrix, classes, metrics.class_report(matrix))


def write(folder: pathlib.Path, step: int, collected: Mapping[str, Collected], tasks: Mapping[str, Task]) -> None:
    """`folder/class_report/STREAM-STEP.json`: confusion (rows true), precision, recall, f1 and support by class.

    Of tags these are by type of entity, as conlleval counts them.
    """
    for stream, table in collected.items():
        for task in tasks.values():
            if task.name not in table or not known(table[task.name]).any():
                continue
            rows = figures.labelled(task, table)
            found = tables(task, rows[task.name], task.probabilities(rows[f"outputs/{task.name}"]), task.classes)
            if found is None:
                continue
            by_class = {c: {k: float(v[i]) for k, v in found.report.items()} for i, c in enumerate(found.names)}
            name = figures.prefix(stream, task.name, tasks).replace("/", "-")
            content = {"step": step, "confusion": found.confusion.tolist(), "classes": by_class}
            write_atomic(folder / "class_report" / f"{name}-{step:08d}.json", json.dumps(content, indent=1))
