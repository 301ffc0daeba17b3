"""The confusion matrix and the class report of every evaluation, kept beside the scalars."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

from tl import metrics
from tl.evaluators.collect import Collected
from tl.report.files import write_atomic
from tl.tasks import Task


def write(folder: pathlib.Path, step: int, collected: Mapping[str, Collected], tasks: Mapping[str, Task]) -> None:
    """`folder/class_report/STREAM-STEP.json`: confusion (rows true), precision, recall, f1 and support by class."""
    for stream, table in collected.items():
        for task in tasks.values():
            if task.kind not in ("classification", "binary") or task.name not in table:
                continue
            predicted = task.probabilities(table[f"outputs/{task.name}"]).argmax(axis=1)
            matrix = metrics.confusion(table[task.name], predicted, len(task.classes))
            report = metrics.class_report(matrix)
            by_class = {c: {k: float(v[i]) for k, v in report.items()} for i, c in enumerate(task.classes)}
            name = stream if len(tasks) == 1 else f"{stream}-{task.name}"
            content = {"step": step, "confusion": matrix.tolist(), "classes": by_class}
            write_atomic(folder / "class_report" / f"{name}-{step:08d}.json", json.dumps(content, indent=1))
