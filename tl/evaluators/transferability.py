"""How well an untouched backbone suits a task, by tl/ranking.py."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tl import metrics, ranking
from tl.errors import InputError
from tl.tasks import Task


def transferability(
    features: np.ndarray, table: Mapping[str, np.ndarray], tasks: Mapping[str, Task], flat: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Scores of (N, D) features for the only task, whose labels are in `table`; higher is better.

    `flat` are the leaves of the weights: where a classifier among them reads such features, its classes count too.
    InputError for labels that are not classes.
    """
    (task,) = tasks.values()
    if task.kind != "classification" or len(task.classes) < 2:
        raise InputError("backbones are compared by classes, and this data has none to tell apart.")
    source = None
    if "params/head/kernel" in flat and len(flat["params/head/kernel"]) == features.shape[1]:
        source = metrics.softmax(features @ flat["params/head/kernel"] + flat["params/head/bias"])
    return ranking.scores(features, table[task.name], source)
