"""Data cut by classes, so that a test asks for classes never seen, and episodes drawn from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tl.data.base import Dataset, Split, concatenate
from tl.data.order import ENDLESS, stream_seed
from tl.episodes import Shape
from tl.errors import InputError

_CLASSES, TURNS = 7, 4


class Endless:
    """Row numbers of one episode after the other; an episode is a function of (seed, its number).

    `labels` (N,) are those of the rows; `groups` (N,), where given, of what all classes of an episode have in common.
    `keys` of config.episode that said the shape.
    """

    def __init__(
        self,
        labels: np.ndarray,
        shape: Shape,
        seed: int,
        name: str = "",
        groups: np.ndarray | None = None,
        keys: Sequence[str] = ("way", "shot", "query"),
    ) -> None:
        classes, first = np.unique(labels, return_index=True)
        self._members = [np.flatnonzero(labels == c) for c in classes]
        self._shape, self._seed = shape, stream_seed(seed, name)
        group = np.zeros(len(classes), int) if groups is None else groups[first]
        found = [np.flatnonzero(group == g) for g in np.unique(group)]
        self._groups = [classes for classes in found if len(classes) >= shape.way]
        if not self._groups:
            most = max(map(len, found))
            raise InputError(
                f"an episode of config.episode.{keys[0]}={shape.way} classes needs as many, and '{name}' has {most} "
                f"{'of one kind' if groups is not None else 'of them'}: take a lower way, or another cut in "
                "config.episode.classes."
            )
        fewest = min(map(len, self._members))
        if shape.shot + shape.query > fewest:
            raise InputError(
                f"an episode takes {shape.shot} + {shape.query} images of a class (config.episode.{keys[1]} and "
                f"{keys[2]}), and a class of '{name}' has {fewest}: take fewer."
            )
        # A batch may hold several, and batches are made ahead, in threads.
        self.episode = functools.lru_cache(maxsize=64)(self._episode)

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: Any) -> Any:
        number, place = divmod(int(index), self._shape.rows)
        return int(self.episode(number)[place])

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The row numbers at the places `start` to `stop`."""
        size = self._shape.rows
        numbers = range(start // size, (stop - 1) // size + 1)
        return np.concatenate([self.episode(number) for number in numbers])[start - numbers.start * size :][
            : stop - start
        ].astype(np.int32)

    def _episode(self, number: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, number))
        among = self._groups[rng.integers(len(self._groups))]
        each = self._shape.shot + self._shape.query
        classes = rng.permutation(among)[: self._shape.way]
        return np.concatenate([rng.permutation(self._members[c])[:each] for c in classes])


def endless(
    split: Split, shape: Shape, seed: int, name: str, within: str, classes: Sequence[str], keys: Sequence[str]
) -> Endless:
    """The episodes of a split; `within`: all classes of one share their name up to this text, and their turn."""
    labels, groups = split.labels["label"], None
    if within:
        kinds = [(name.partition(within)[0], name.partition("@")[2]) for name in classes]
        groups = np.unique(kinds, return_inverse=True, axis=0)[1].reshape(-1)[labels]
    return Endless(labels, shape, seed, name, groups, keys)


def fixed(split: Split, shape: Shape, count: int, order: Endless) -> Split:
    """`count` episodes as one split, with what `labels_of` says of its rows."""
    found = split.take(order.rows(0, count * shape.rows))
    return dataclasses.replace(found, labels=labels_of(shape, count))


def labels_of(shape: Shape, count: int) -> dict[str, np.ndarray]:
    """`label`, a class of the episode; `query`, whether the row is to be told apart; `episode`, its number."""
    each = shape.shot + shape.query
    return {
        "label": np.tile(np.repeat(np.arange(shape.way, dtype=np.int32), each), count),
        "query": np.tile(np.arange(each) >= shape.shot, count * shape.way),
        "episode": np.repeat(np.arange(count, dtype=np.int32), shape.rows),
    }


def cut(dataset: Dataset, counts: Sequence[int], rotations: bool, within: str = "", share: float = 0.1) -> Dataset:
    """Classes for training, for validation and for test: none is in two, and the cut is the same for every seed.

    `counts` of each; without them a source keeps its own splits, where these have no class in common, and where it has
    none for val gives up `share` of its training classes, one at least, or none for 0; any other source is cut
    6 : 2 : 2. With `within` all classes that share their name up to it go together, and counts are of those kinds; the
    share may then be none, and there is no val. With `rotations` an image turned by a quarter, a half and three
    quarters is of a class of its own.
    """
    if dataset.target or dataset.domains:
        raise InputError("config.episode cuts one data set by its classes: name one in config.data, and no target.")
    if not dataset.classes or dataset.splits["train"].labels["label"].ndim != 1:
        raise InputError("config.episode cuts data by class: the task must be 'classification'.")
    held = {name: set(np.unique(split.labels["label"]).tolist()) for name, split in dataset.splits.items()}
    own = not counts and {"train", "test"} <= held.keys() and not held["train"] & held["test"]
    whole = functools.reduce(concatenate, dataset.splits.values())
    if own:
        val = held.get("val", set()) - held["train"] - held["test"]
        kinds = dealt(held["train"], dataset.classes, within)
        few = 0 if val or not share else max(not within, int(len(kinds) * share))
        parts = [kinds[few:], kinds[:few] or [sorted(val)], [sorted(held["test"])]]
    else:
        kinds = dealt(range(len(dataset.classes)), dataset.classes, within)
        n = len(kinds)
        if n < 5 and not counts:
            raise InputError(f"{n} classes are too few to be cut into those of training, val and test: take 5 or more.")
        counts = tuple(counts) or (n - 2 * (n // 5), n // 5, n // 5)
        if len(counts) != 3 or min(counts) < 1 or sum(counts) > n:
            raise InputError(f"config.episode.classes={counts} must be three numbers of classes, in all at most {n}.")
        edges = np.cumsum(counts)
        parts = [kinds[: edges[0]], kinds[edges[0] : edges[1]], kinds[edges[1] : edges[2]]]
    cuts = zip(("train", "val", "test"), parts, strict=True)
    chosen = {name: np.concatenate(part).astype(int) for name, part in cuts if any(part)}
    splits = {name: only(whole, numbers) for name, numbers in chosen.items()}
    names = {name: [dataset.classes[c] for c in numbers] for name, numbers in chosen.items()}
    if rotations:
        splits = {name: rotated(split, len(chosen[name])) for name, split in splits.items()}
        names = {k: [f"{name}@{90 * turn}" for turn in range(TURNS) for name in held] for k, held in names.items()}
    named = {name: tuple(held) for name, held in names.items()}
    return dataclasses.replace(dataset, splits=splits, classes=named["train"], named=named)


def dealt(numbers: Collection[int], classes: Sequence[str], within: str) -> list[list[int]]:
    """The classes `numbers` in a drawn order, one by one or, with `within`, kind by kind."""
    kinds: dict[str, list[int]] = {}
    for number in sorted(numbers):
        kinds.setdefault(classes[number].partition(within)[0] if within else str(number), []).append(number)
    held = list(kinds.values())
    return [held[i] for i in np.random.default_rng([0, _CLASSES]).permutation(len(held))]


def only(split: Split, classes: np.ndarray) -> Split:
    """The images of `classes`, which become 0, 1, ... in this order."""
    found = split.take(np.flatnonzero(np.isin(split.labels["label"], classes)))
    place = np.full(max(classes.max(), found.labels["label"].max()) + 1, -1, np.int32)
    place[classes] = np.arange(len(classes))
    return dataclasses.replace(found, labels={"label": place[found.labels["label"]]})


def rotated(split: Split, classes: int) -> Split:
    """Each image four times, turned by 0 to 3 quarters, each turn with classes of its own."""
    n = len(split)
    return dataclasses.replace(
        split,
        load=lambda i: np.ascontiguousarray(np.rot90(split.load(i % n), i // n)),
        labels={"label": np.concatenate([split.labels["label"] + classes * turn for turn in range(TURNS)])},
        names=[f"{name}@{90 * turn}" for turn in range(TURNS) for name in split.names],
    )
