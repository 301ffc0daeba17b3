"""A data set by one string: `digits`, `glyphs`, `noise`, `npz:FILE`, `folder:DIR`, `tar:FILE`, `features:FILE`,
`omniglot:FILE`, `tsv:FILE`, `csv:FILE`, `conll:FILE`, `kg:FILE`, `tfds:NAME`."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import os
from collections.abc import Mapping

import numpy as np

from tl.data import arrays, embedded, folders, graph, labels, omniglot, splits, tagged, texts, tfds
from tl.data.base import Dataset, Split
from tl.errors import InputError, unknown

# Each reader is called with what stands behind the colon and the task's name, and returns the splits that the
# source itself has, with labels as they are stored, under the name `label`, and what else stands beside the rows.
READERS = {
    "digits": embedded.digits,
    "glyphs": embedded.glyphs,
    "noise": embedded.noise,
    "npz": arrays.npz,
    "folder": folders.folder,
    "tar": folders.tar,
    "features": arrays.features,
    "omniglot": omniglot.omniglot,
    "kg": graph.kg,
    "tsv": texts.tsv,
    "csv": texts.csv,
    "conll": tagged.conll,
    "tfds": tfds.tfds,
}


def open_source(
    source: str,
    *,
    seed: int = 0,
    val_fraction: float = 0.1,
    per_class: int = 0,
    fold: tuple[int, int] | None = None,
    skip_broken: bool = False,
    classes: int = 0,
    task: str = "label",
    kind: str = "classification",
    cut_test: bool = True,
    outer: tuple[int, int] | None = None,
) -> Dataset:
    """Open `source` and cut it into train, val and test (see splits.arrange); labels stand under `task`.

    seed: of the cut of val, of the folds and of `per_class`; the test split does not depend on it.
    val_fraction: share of train for val where the source has none; 0 for no val.
    per_class: that many training images of every class, taken after the cuts; 0 for all.
    fold, outer: (i, k): part i of a stratified k-fold of train and val is val, or test in place of the source's own.
    skip_broken: decode every image now and leave broken ones out; else a broken one is an error when it is
    loaded.
    classes: number of classes, where it is not that of the data; labels must be smaller.
    kind: one of labels.KINDS.
    cut_test: whether a source of one split gives up 20 % for test.

    Raises InputError for anything a user can get wrong, before any image is decoded.
    """
    _reader(source, kind)
    if not 0 <= val_fraction < 1:
        raise InputError(f"val_fraction={val_fraction} must be at least 0 and less than 1.")
    if per_class < 0 or (per_class and kind not in labels.CLASS_KINDS):
        raise InputError(f"{per_class} labels a class must not be negative and need a task with classes, not {kind}.")
    found = open_whole(source, skip_broken=skip_broken, classes=classes, task=task, kind=kind)
    parts, names = dict(found.splits), found.classes
    has_classes = kind in labels.CLASS_KINDS
    strata = {name: split.labels[task] if has_classes else np.zeros(len(split), int) for name, split in parts.items()}
    cuts = {"val_fraction": val_fraction, "fold": fold, "cut_test": cut_test, "outer": outer}
    parts = splits.arrange(parts, strata, seed=seed, **cuts)
    if has_classes:
        occurring = set(range(len(names)) if not classes else np.unique(np.concatenate(list(strata.values()))))
        _check_trained(parts, task, names, occurring, source)
    if kind == "classification" and len(names) == 1:
        raise InputError(
            f"'{source}' has one class, '{names[0]}', and there is nothing to tell apart: name other data."
        )
    if kind == "tags":
        tagged.check_types(parts, task, names, source)
    if per_class:
        chosen = splits.first_per_class(parts["train"].labels[task], per_class, seed, names)
        parts["train"] = parts["train"].take(chosen)
    return Dataset(parts, names, found.fingerprint, relations=found.relations)


def open_whole(
    source: str, *, skip_broken: bool = False, classes: int = 0, task: str = "label", kind: str = "classification"
) -> Dataset:
    """Open `source` and leave its own splits as they are, classes without training images too; see `open_source`."""
    reader, argument = _reader(source, kind)
    found = READERS[reader](argument, task)
    parts = {name: split for name, split in found.splits.items() if len(split)}
    if not parts:
        raise InputError(f"'{source}' holds no {next((split.holds for split in found.splits.values()), 'images')}.")
    of_words = next(iter(parts.values())).field == "words"
    if of_words != (kind == "tags"):
        wrong = "holds a tag for every word" if of_words else "holds no tags of words, as conll:FILE does"
        raise InputError(f"config.data='{source}' {wrong}, and config.task is '{kind}': change one of them.")
    if skip_broken:
        parts = {name: _without_broken(split) for name, split in parts.items()}
    stored = {name: split.labels["label"] for name, split in parts.items()}
    converted, names = labels.convert(stored, found.classes, classes, kind, source)
    parts = {
        name: dataclasses.replace(
            split,
            labels={**{key: values for key, values in split.labels.items() if key != "label"}, task: converted[name]},
            origin=found.fingerprint,
        )
        for name, split in parts.items()
    }
    return Dataset(parts, names, found.fingerprint, relations=found.relations)


def _reader(source: str, kind: str) -> tuple[str, str]:
    """A name of READERS and what it is given; InputError for another, and for an unknown kind of task."""
    reader, _, argument = os.path.expandvars(source).partition(":")  # $TL_DATA, so that a config is no machine's
    if reader not in READERS:
        raise unknown("data source", reader, READERS)
    if kind not in labels.KINDS:
        raise unknown("kind of task", kind, labels.KINDS)
    return reader, argument


def _check_trained(
    parts: Mapping[str, Split], task: str, names: tuple[str, ...], occurring: set[int], source: str
) -> None:
    """A class that cannot be learnt is an error; with `classes` given, only if it occurs in val or test."""
    missing = sorted(occurring - set(np.unique(parts["train"].labels[task]).tolist()))
    if missing:
        listed = ", ".join(f"'{names[c]}'" for c in missing[:5]) + (", ..." if len(missing) > 5 else "")
        rows = "sentences" if parts["train"].written else "images"
        numbered = parts["train"].written and names == tuple(map(str, range(len(names))))  # e.g. stars, 1 to 5
        raise InputError(
            f"{len(missing)} of {len(names)} classes of '{source}' without training {rows}: {listed}; "
            + (f"{labels.FROM_0}." if numbered else f"add {rows} or remove the class.")
        )


def _without_broken(split: Split) -> Split:
    """The images that decode. Every file is decoded in full: one can be whole at its head, yet cut off."""

    def whole(i: int) -> bool:
        try:
            split.load(i)
        except InputError as error:
            logging.getLogger(__name__).warning("left out: %s", error)
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor() as pool:
        keep = np.fromiter(pool.map(whole, range(len(split))), bool, len(split))
    return split.take(np.flatnonzero(keep))
