"""Classes that come in groups, one after the other: what of a data set a stage sees."""

from __future__ import annotations

import dataclasses

import numpy as np

from tl.data import domains, splits
from tl.data.base import Dataset
from tl.errors import InputError


def bounds(classes: int, groups: int) -> list[int]:
    """Where each group begins in label order, and where the last ends: equal groups, but for one class at most."""
    if not 2 <= groups <= classes:
        raise InputError(f"config.increments={groups} is not possible: {classes} classes make 2..{classes} groups.")
    return [round(number * classes / groups) for number in range(groups + 1)]


def group(dataset: Dataset, groups: int, number: int, exemplars: int, seed: int) -> Dataset:
    """What group `number`, counted from 1, learns from and is tested on.

    `train` holds the images of its own classes; val and test those of all classes so far. `exemplars` of each class,
    drawn by seed, make two more splits: `earlier`, of the classes before this group, and `exemplars`, of all so far.
    """
    if dataset.target or dataset.domains:
        raise InputError("config.increments cuts one data set by its classes: name one in config.data, and no target.")
    if not dataset.classes or dataset.splits["train"].labels["label"].ndim != 1:
        raise InputError("config.increments cuts data by class: the task must be 'classification'.")
    edges = bounds(len(dataset.classes), groups)
    if not 1 <= number <= groups:
        raise InputError(f"config.increment={number} must be a group in 1..{groups}, counted from 1.")
    first, last = edges[number - 1], edges[number]
    labels = {name: split.labels["label"] for name, split in dataset.splits.items()}
    found = {
        name: split.take(np.flatnonzero(labels[name] < last))
        for name, split in dataset.splits.items()
        if name != "train"
    }
    train = dataset.splits["train"]
    found["train"] = train.take(np.flatnonzero((labels["train"] >= first) & (labels["train"] < last)))
    if exemplars:
        so_far = train.take(np.flatnonzero(labels["train"] < last))
        kept = so_far.take(splits.first_per_class(so_far.labels["label"], exemplars, seed, dataset.classes))
        found["exemplars"] = kept
        if first:
            found["earlier"] = kept.take(np.flatnonzero(kept.labels["label"] < first))
    return dataclasses.replace(dataset, splits=found)


def beside(dataset: Dataset, earlier: Dataset, names: tuple[str, str]) -> Dataset:
    """`dataset` with the split `earlier`, training images of earlier data, and `earlier_test`, its test images."""
    domains.check_classes(list(zip(names, (dataset, earlier), strict=True)))
    held = {"earlier": earlier.splits["train"], "earlier_test": earlier.splits["test"]}
    return dataclasses.replace(dataset, splits={**dataset.splits, **held, "exemplars": earlier.splits["train"]})
