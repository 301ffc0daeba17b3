"""What an evaluation says, as numbers by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from tl.evaluators import validators
from tl.evaluators.collect import Collected
from tl.tasks import Task, known


def of_one(task: Task, table: Collected) -> dict[str, float]:
    """The task's metrics; of episodes also `ci95`, half the interval of the accuracy's mean.

    The interval is over episodes, 1.96 standard errors, as few-shot papers give it.
    """
    outputs, labels = table[f"outputs/{task.name}"], table[task.name]
    found = task.metrics(outputs, labels)
    if "episode" not in table:
        return found
    right, count = outputs.argmax(axis=1) == labels, np.bincount(table["episode"])
    each = np.bincount(table["episode"], weights=right) / count
    return found | ({"ci95": float(1.96 * each.std(ddof=1) / len(each) ** 0.5)} if len(each) > 1 else {})


def prefix(name: str, task: str, tasks: Collection[str]) -> str:
    """What the metrics of the set `name` begin with: `val`, or `val/TASK` for those of config.tasks."""
    return name if list(tasks) == ["label"] else f"{name}/{task}"


def labelled(task: Task, table: Collected) -> Collected:
    """The rows that have a label of the task."""
    there = known(table[task.name])
    return table if there.all() else {field: values[there] for field, values in table.items()}


def figures(collected: Mapping[str, Collected], tasks: Mapping[str, Task]) -> dict[str, float]:
    """{"val/accuracy": ...} of every set that has labels; scores without labels where there is a target."""
    values = {}
    for name, table in collected.items():
        for task in tasks.values():
            if task.name not in table:
                continue
            rows = labelled(task, table)
            metrics = of_one(task, rows) if len(rows[task.name]) else {}
            values |= {f"{prefix(name, task.name, tasks)}/{metric}": value for metric, value in metrics.items()}
    (task, *_) = tasks.values()
    if {"reference", "val", "unlabelled"} <= collected.keys() and task.kind == "classification":
        scored = [collected[name] for name in ("reference", "val", "unlabelled")]
        values |= validators.scores(*scored, task=task.name)
    return values
