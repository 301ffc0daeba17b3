"""What an evaluation says, as numbers by name."""

from __future__ import annotations

from collections.abc import Mapping

from tl.evaluators import validators
from tl.evaluators.collect import Collected
from tl.tasks import Task


def figures(collected: Mapping[str, Collected], tasks: Mapping[str, Task]) -> dict[str, float]:
    """{"val/accuracy": ...} of every set that has labels; scores without labels where there is a target."""
    values = {}
    for name, table in collected.items():
        for task in tasks.values():
            if task.name not in table:
                continue
            prefix = name if len(tasks) == 1 else f"{name}/{task.name}"
            metrics = task.metrics(table[f"outputs/{task.name}"], table[task.name])
            values |= {f"{prefix}/{metric}": value for metric, value in metrics.items()}
    (task, *_) = tasks.values()
    if {"reference", "val", "unlabelled"} <= collected.keys() and task.kind == "classification":
        scored = [collected[name] for name in ("reference", "val", "unlabelled")]
        values |= validators.scores(*scored, task=task.name)
    return values
