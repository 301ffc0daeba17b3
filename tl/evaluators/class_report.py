"""The confusion matrix and the class report of every evaluation, kept beside the scalars."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

from tl import metrics
from tl.evaluators import figures
from tl.evaluators.collect import Collected
from tl.report.files import write_atomic
from tl.tasks import Task


def write(folder: pathlib.Path, step: int, collected: Mapping[str, Collected], tasks: Mapping[str, Task]) -> None:
    """`folder/class_report/STREAM-STEP.json`: confusion (rows true), precision, recall, f1 and support by class."""
    for stream, table in collected.items():
        for task in tasks.values():
            if task.kind not in ("classification", "binary") or task.name not in table:
                continue
            rows = figures.labelled(task, table)
            if not len(rows[task.name]):
                continue
            predicted = task.probabilities(rows[f"outputs/{task.name}"]).argmax(axis=1)
            matrix = metrics.confusion(rows[task.name], predicted, len(task.classes))
            report = metrics.class_report(matrix)
            by_class = {c: {k: float(v[i]) for k, v in report.items()} for i, c in enumerate(task.classes)}
            name = figures.prefix(stream, task.name, tasks).replace("/", "-")
            content = {"step": step, "confusion": matrix.tolist(), "classes": by_class}
            write_atomic(folder / "class_report" / f"{name}-{step:08d}.json", json.dumps(content, indent=1))
