"""A run over groups of classes, or over domains, one stage each, and what it keeps of the earlier ones."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from tl import metrics, runs, tasks
from tl.config import Config
from tl.data.increments import bounds, place_of
from tl.errors import InputError


def run(config: Config, folder: pathlib.Path, run_one: runs.RunOne, *, quiet: bool = False) -> dict[str, Any]:
    """Stages that learn a group each, from the last one's weights; their figures by group join the summary."""
    if config.stages:
        raise InputError("config.increments makes a stage of each group: leave config.stages empty.")
    changes = [{"increment": number} for number in range(1, config.increments + 1)]
    return runs.run_stages(config, folder, run_one, changes, about=figures, quiet=quiet)


def figures(folders: list[pathlib.Path]) -> dict[str, float]:
    """Accuracy by group after each stage, their mean after the last, and how much was forgotten.

    Of groups of classes once among all classes so far, and once where the group is known (task-incremental,
    `known_group/`).
    """
    tables = [dict(np.load(folder / "predictions.npz")) for folder in folders]
    count, classes = len(folders), tables[-1]["test/outputs/label"].shape[1]
    domains = "test/domain" in tables[-1]
    # Of domains every one has all classes.
    edges = [0] + [classes] * count if domains else bounds(classes, count)
    among, known = (np.full((count, count), np.nan) for _ in range(2))
    for stage, table in enumerate(tables):
        labels, outputs = table["test/label"], table["test/outputs/label"]
        place = table["test/domain"] if domains else place_of(labels, edges)
        for number in range(stage + 1):
            own, first, last = place == number, edges[number], edges[number + 1]
            among[stage, number] = np.mean(outputs[own, : edges[stage + 1]].argmax(axis=1) == labels[own])
            if not domains:
                known[stage, number] = np.mean(outputs[own, first:last].argmax(axis=1) + first == labels[own])
    found = {}
    for name, table in (("groups", among), ("known_group", known)):
        if np.isfinite(table[-1]).all():
            found |= {f"{name}/accuracy": float(table[-1].mean()), f"{name}/forgetting": metrics.forgetting(table)}
            found |= {
                f"{name}/after{stage + 1}/group{number + 1}": float(table[stage, number])
                for stage in range(count)
                for number in range(stage + 1)
            }
    return found


def earlier(config: Config, task: tasks.Task) -> int:
    """How many of the task's classes were learnt before this stage: all of them where config.earlier names data."""
    if config.get("earlier", ""):
        return task.outputs
    if not config.get("increment", 0):
        return 0
    if "+" in config.data:
        return task.outputs if config.increment > 1 else 0
    return bounds(task.outputs, config.increments)[config.increment - 1]
