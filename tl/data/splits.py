"""Which images are for training, for selection and for the final figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tl.data.base import Split, concatenate
from tl.errors import InputError

TEST_FRACTION = 0.2

# What a seed is used for, so that one seed gives independent draws.
_VAL, _FOLD, _PER_CLASS, _OUTER = 1, 2, 3, 6


def others(n: int, positions: np.ndarray) -> np.ndarray:
    """The positions of 0..n-1 that are not in `positions`, ascending."""
    return np.setdiff1d(np.arange(n), positions)


def stratified(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Ascending positions of `fraction` of the rows, the same share of every class of `labels` (N,).

    The total is round(fraction * N), at least 1. A class gives its rounded-down share, the rest goes to the
    largest remainders; no class gives its last image.
    """
    classes, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = fraction * counts
    room = counts - 1
    quota = np.minimum(np.floor(share).astype(int), room)
    missing = max(1, round(fraction * len(labels))) - quota.sum()
    tie = rng.permutation(len(classes))  # equal remainders must not always favour the first classes
    for c in sorted(range(len(classes)), key=lambda c: (quota[c] - share[c], tie[c])):
        if missing > 0 and quota[c] < room[c]:
            quota[c] += 1
            missing -= 1
    picked = [rng.permutation(np.flatnonzero(where == c))[: quota[c]] for c in range(len(classes))]
    return np.sort(np.concatenate(picked))


def kfold(labels: np.ndarray, fold: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Ascending positions of part `fold` of `k` disjoint parts, each with its share of every class."""
    if not (2 <= k <= len(labels) and 0 <= fold < k):
        raise InputError(
            f"fold={fold} of folds={k} is not possible: folds must be 2 to {len(labels)} (training images) "
            f"and fold 0 to folds - 1."
        )
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return np.sort(by_class[fold::k])


def first_per_class(labels: np.ndarray, per_class: int, seed: int, classes: Sequence[str]) -> np.ndarray:
    """Ascending positions of `per_class` rows of every class; with one seed, fewer are a subset of more."""
    picked = []
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        if len(rows) < per_class:
            raise InputError(
                f"{per_class} labels a class are more than class '{classes[c]}' has: {len(rows)} training images; "
                f"take at most that many."
            )
        picked.append(np.random.default_rng([seed, _PER_CLASS, int(c)]).permutation(rows)[:per_class])
    return np.sort(np.concatenate(picked))


def arrange(
    parts: Mapping[str, Split],
    strata: Mapping[str, np.ndarray],
    *,
    seed: int,
    val_fraction: float,
    fold: tuple[int, int] | None,
    cut_test: bool = True,
    outer: tuple[int, int] | None = None,
) -> dict[str, Split]:
    """The splits train, val and test from those a source has, with equal shares of the (N,) labels `strata`.

    No test split: val becomes test. Only one split: test is 20 % of it, always the same images, so that
    weights from one seed can be evaluated in a run with another; without `cut_test` there is none. No val split left:
    `val_fraction` of train, by seed; 0 means no `val` at all. With `fold` = (i, k) val is part i of train and val
    together. Test is never chosen from again. `outer` = (i, k) makes part i of train and val test in place of the
    source's own; the folds are then of the rest.
    """
    if "train" not in parts:
        raise InputError(f"no training images: the source has only {', '.join(parts)}.")
    parts, strata = dict(parts), dict(strata)
    if "test" not in parts and "val" in parts:
        parts["test"], strata["test"] = parts.pop("val"), strata.pop("val")
    if "test" not in parts and cut_test and not outer:
        _cut(parts, strata, "test", stratified(strata["train"], TEST_FRACTION, np.random.default_rng(0)))
    if (fold or outer) and "val" in parts:
        parts["train"] = concatenate(parts["train"], parts.pop("val"))
        strata["train"] = np.concatenate([strata["train"], strata.pop("val")])
    if outer:
        _cut(parts, strata, "test", kfold(strata["train"], *outer, np.random.default_rng([seed, _OUTER])))
    if fold:
        _cut(parts, strata, "val", kfold(strata["train"], *fold, np.random.default_rng([seed, _FOLD])))
    elif "val" not in parts and val_fraction > 0:
        chosen = stratified(strata["train"], val_fraction, np.random.default_rng([seed, _VAL]))
        _cut(parts, strata, "val", chosen)
    return {name: parts[name] for name in ("train", "val", "test") if name in parts}


def _cut(parts: dict[str, Split], strata: dict[str, np.ndarray], name: str, chosen: np.ndarray) -> None:
    """Move the `chosen` rows of train into a new split `name`."""
    rest = others(len(parts["train"]), chosen)
    if not len(rest) or not len(chosen):
        raise InputError(
            f"{len(parts['train'])} training {parts['train'].holds} are too few to cut a {name} split from."
        )
    parts[name], strata[name] = parts["train"].take(chosen), strata["train"][chosen]
    parts["train"], strata["train"] = parts["train"].take(rest), strata["train"][rest]


def class_weights(labels: np.ndarray, n: int) -> np.ndarray:
    """Balanced weights (n,) float32: N / (k * count) for the k classes that occur, 0 for the others.

    King and Zeng 2001; the mean over the N images is 1.
    """
    counts = np.bincount(labels, minlength=n)
    present = counts > 0
    weights = np.zeros(n, np.float32)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights
