"""Classes that come in groups, or domains, one after the other: what of a data set a stage sees."""

from __future__ import annotations

import dataclasses

import numpy as np

from tl.data import domains, splits
from tl.data.base import Dataset, Split
from tl.errors import InputError


def bounds(classes: int, groups: int) -> list[int]:
    """Where each group begins in label order, and where the last ends: equal groups, but for one class at most."""
    if not 2 <= groups <= classes:
        raise InputError(f"config.increments={groups} is not possible: {classes} classes make 2..{classes} groups.")
    return [round(number * classes / groups) for number in range(groups + 1)]


def place_of(labels: np.ndarray, edges: list[int]) -> np.ndarray:
    """The group of each label, counted from 0, of `edges` as `bounds` has them."""
    return np.searchsorted(edges, labels, "right") - 1


def group(dataset: Dataset, groups: int, number: int, exemplars: int, seed: int) -> Dataset:
    """What group `number`, counted from 1, learns from and is tested on: a group of classes, or of several domains one.

    `train` holds the images of its own; val and test those of all so far. `exemplars` of each class, and of each
    domain, drawn by seed, make two more splits: `earlier`, of what came before this group, and `exemplars`, of all so
    far.
    """
    if dataset.target:
        raise InputError("config.increments cuts data with labels into groups: leave config.target out.")
    if not dataset.classes or dataset.splits["train"].labels["label"].ndim != 1:
        raise InputError("config.increments cuts data by class: the task must be 'classification'.")
    if dataset.domains and groups != len(dataset.domains):
        raise InputError(
            f"config.increments={groups}, but config.data names {len(dataset.domains)} domains, of which each is a "
            f"group: set it to {len(dataset.domains)}."
        )
    edges = bounds(len(dataset.classes), groups) if not dataset.domains else []
    if not 1 <= number <= groups:
        raise InputError(f"config.increment={number} must be a group in 1..{groups}, counted from 1.")
    place = {
        name: split.labels["domain"] if dataset.domains else place_of(split.labels["label"], edges)
        for name, split in dataset.splits.items()
    }
    found = {
        name: split.take(np.flatnonzero(place[name] < number))
        for name, split in dataset.splits.items()
        if name != "train"
    }
    train = _without_domain(dataset.splits["train"])
    own = [np.flatnonzero(place["train"] == before) for before in range(number)]
    found["train"] = train.take(own[-1])
    if exemplars:
        labels = train.labels["label"]
        kept = [rows[splits.first_per_class(labels[rows], exemplars, seed, dataset.classes)] for rows in own]
        found["exemplars"] = train.take(np.sort(np.concatenate(kept)))
        if number > 1:
            found["earlier"] = train.take(np.sort(np.concatenate(kept[:-1])))
    return dataclasses.replace(dataset, splits=found, domains=())


def _without_domain(split: Split) -> Split:
    """The rows of a batch are then not dealt out by domain."""
    labels = {name: values for name, values in split.labels.items() if name != "domain"}
    return dataclasses.replace(split, labels=labels)


def beside(dataset: Dataset, earlier: Dataset, names: tuple[str, str]) -> Dataset:
    """`dataset` with the split `earlier`, training images of earlier data, and `earlier_test`, its test images."""
    domains.check_classes(list(zip(names, (dataset, earlier), strict=True)))
    held = {"earlier": earlier.splits["train"], "earlier_test": earlier.splits["test"]}
    return dataclasses.replace(dataset, splits={**dataset.splits, **held, "exemplars": earlier.splits["train"]})
