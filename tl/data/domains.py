"""Several sources as one data set: labelled domains to learn from, and a target domain whose labels no loss may see."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tl.data import splits, texts
from tl.data.base import Dataset, Split, concatenate
from tl.data.labels import CLASS_KINDS
from tl.data.sources import open_source
from tl.errors import InputError


def open_domains(
    sources: str, target: str = "", *, transductive: bool = False, target_labels: int = 0, **how: Any
) -> Dataset:
    """`A+B+...`, and the target where one is named; `how` are arguments of open_source for each of them.

    The sources' splits are joined; rows of several have a field `domain`, their place among the sources. The target
    gives two splits: `unlabelled`, its training images without labels, and `target`, its test images, whose labels
    are for evaluation. With `transductive` both are all of its images. `target_labels` of each class, drawn by seed,
    join `train` as one more domain, and are in no other split.

    Raises InputError for unequal classes, and for a target that is one of the sources: its labels would train.
    """
    specs = [spec.strip() for spec in sources.split("+")]
    if len(specs) == 1 and not target:
        if transductive or target_labels:
            raise InputError("config.transductive and config.target_labels are about the target: set config.target.")
        return open_source(sources, **how)
    if "" in specs:
        raise InputError(f"config.data='{sources}' has nothing on one side of a '+': several sources are written A+B.")
    if target_labels and how.get("kind", "classification") not in CLASS_KINDS:
        raise InputError(f"config.target_labels counts images of each class: the task '{how['kind']}' has no classes.")
    opened = [open_source(spec, **how, cut_test=not target) for spec in specs]
    names = short_names([*specs, target] if target else specs)
    numbers = range(len(specs)) if len(specs) > 1 or target_labels else [None]
    parts = {
        split: _join([(part.splits[split], n) for part, n in zip(opened, numbers, strict=True) if split in part.splits])
        for split in ("train", "val", "test")
        if any(split in part.splits for part in opened)
    }
    domains = names[: len(specs)] if len(specs) > 1 else ()
    if target:
        alone = how | {"val_fraction": 0.0, "per_class": 0, "fold": None, "outer": None}
        opened.append(open_source(target, **alone, cut_test=not transductive))
        _check_apart([*specs, target], opened)
    check_classes(list(zip(names, opened, strict=True)))
    check_widths(list(zip(names, opened, strict=True)))
    if opened[-1].splits["train"].field == "text":
        parts = texts.disjoint(parts) if len(specs) > 1 else parts
        parts = texts.apart(parts, opened[-1]) if target else parts
    if target:
        parts |= _target_splits(parts["train"], opened[-1], len(specs), transductive, target_labels, how.get("seed", 0))
    digest = hashlib.sha256(" ".join(part.fingerprint for part in opened).encode()).hexdigest()
    return Dataset(parts, opened[0].classes, digest, domains, names[-1] if target else "")


def _target_splits(
    train: Split, target: Dataset, number: int, transductive: bool, labelled: int, seed: int
) -> dict[str, Split]:
    """`target`, `unlabelled` and, with the `labelled` images a class as domain `number`, the new `train`."""
    used = [split for name, split in target.splits.items() if transductive or name != "test"]
    pool = functools.reduce(concatenate, used)
    if labelled:
        chosen = splits.first_per_class(pool.labels["label"], labelled, seed, target.classes)
        train = _join([(train, None), (pool.take(chosen), number)])
        pool = pool.take(splits.others(len(pool), chosen))
        if not len(pool):
            raise InputError(f"config.target_labels={labelled} leaves no image without a label: take fewer.")
    test = pool if transductive else target.splits["test"]
    return {"train": train, "target": test, "unlabelled": dataclasses.replace(pool, labels={})}


def few_labels(dataset: Dataset, count: int, seed: int) -> Dataset:
    """`train` with `count` images of each class, drawn by seed; `unlabelled`, all of them, has no label."""
    whole = dataset.splits["train"]
    chosen = splits.first_per_class(whole.labels["label"], count, seed, dataset.classes)
    held = {"train": whole.take(chosen), "unlabelled": dataclasses.replace(whole, labels={})}
    return dataclasses.replace(dataset, splits={**dataset.splits, **held})


def _join(parts: Sequence[tuple[Split, int | None]]) -> Split:
    """One split of all, each row with its `domain` number; None: it has one already, or needs none."""
    numbered = [
        part
        if number is None
        else dataclasses.replace(part, labels={**part.labels, "domain": np.full(len(part), number, np.int32)})
        for part, number in parts
    ]
    return functools.reduce(concatenate, numbered)


def labelled(dataset: Dataset) -> int:
    """How many domains the rows of train come from, labelled ones of the target included."""
    return int(dataset.splits["train"].labels.get("domain", np.zeros(1, np.int32)).max()) + 1


def short_names(specs: Sequence[str]) -> tuple[str, ...]:
    """What a spec's path ends with, if that tells all apart: tar:FILE#amazon is amazon; else the specs themselves."""
    ends = [spec.rpartition("#")[2] for spec in specs]
    short = [pathlib.PurePath(end.partition(":")[2] or end).stem for end in ends]
    return tuple(short if len(set(short)) == len(short) else specs)


def overlap(one: str, other: str) -> bool:
    """Whether two specs name a collection and a part of it: a folder and one inside, `tar:F` and `tar:F#D`."""
    parts = [_place(spec) for spec in (one, other)]
    least = min(map(len, parts))
    return parts[0][:least] == parts[1][:least]


def _place(spec: str) -> tuple[str, ...]:
    """Where the images of a spec lie, from the outside in."""
    reader, _, rest = os.path.expandvars(spec).partition(":")
    if reader == "glyphs":  # all characters, the digits among them, and these in one style
        return (reader, *(part for part in rest.split("-") if part))
    if reader not in ("folder", "tar", "npz", "features"):
        return (reader, rest)
    path, _, inside = rest.partition("#")
    whole = pathlib.Path(path).expanduser().resolve()
    return (*whole.parts, *(part for part in pathlib.PurePath(inside).parts if part != "."))


def _check_apart(specs: Sequence[str], opened: Sequence[Dataset]) -> None:
    """The target's labels must not come in as a source's."""
    for spec, dataset in zip(specs[:-1], opened, strict=False):
        if dataset.fingerprint == opened[-1].fingerprint or overlap(spec, specs[-1]):
            raise InputError(
                f"the target '{specs[-1]}' is also a source, or shares images with it ('{spec}'): its labels would "
                "train. Name different data in config.data and config.target."
            )


def check_widths(opened: list[tuple[str, Dataset]]) -> None:
    """Images with images, vectors with vectors of the same features."""
    kinds = {name: dataset.splits["train"].holds for name, dataset in opened}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"'{name}' {what}" for name, what in kinds.items())
        raise InputError(f"the domains hold different things ({said}): name domains with the same features.")


def check_classes(opened: Sequence[tuple[str, Dataset]]) -> None:
    """InputError where the named data sets tell different classes apart."""
    (first, reference), *others = opened
    for name, dataset in others:
        if dataset.classes == reference.classes:
            continue
        missing = sorted(set(reference.classes) - set(dataset.classes))
        extra = sorted(set(dataset.classes) - set(reference.classes))
        differ = "; ".join(
            f"{what} {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            for what, names in ((f"only in '{first}':", missing), (f"only in '{name}':", extra))
            if names
        )
        raise InputError(
            f"the domains '{first}' and '{name}' have different classes ({differ or 'in another order'}): all domains "
            "need the same ones; keep those that they share."
        )
