"""A few images of each of some new classes, by which a run of episodes tells images apart that have no label."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np

from tl.data import sources
from tl.data.base import Split
from tl.episodes import Shape
from tl.errors import InputError

TOGETHER = 32  # images that are asked about beside one set of shots, at least


@dataclasses.dataclass(frozen=True)
class Shots:
    """`images` class after class, and how many there are of each of `classes`."""

    images: Split
    classes: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def shape(self) -> Shape:
        """That of the episodes in which images are asked about."""
        way = len(self.classes)
        uneven = self.counts if len(set(self.counts)) > 1 else ()
        return Shape(way, max(self.counts), -(-TOGETHER // way), uneven)

    def around(self, split: Split) -> tuple[Split, np.ndarray]:
        """The images of `split` as queries of whole episodes, and the rows at which they stand, in order."""
        shape, held, n = self.shape, len(self.images), len(split)
        episodes = -(-n // (shape.way * shape.query))
        first = np.cumsum([0, *self.counts[:-1]])
        shots = first[:, None] + np.minimum(np.arange(shape.shot), np.array(self.counts)[:, None] - 1)
        # The last image fills up the last episode.
        queries = held + np.minimum(np.arange(episodes * shape.way * shape.query), n - 1)
        both = [np.tile(shots, (episodes, 1, 1)), queries.reshape(episodes, shape.way, shape.query)]
        rows = np.concatenate(both, axis=2).reshape(-1)
        shot = functools.cache(self.images.load)  # the same in every episode

        def load(i: int) -> np.ndarray:
            return shot(int(rows[i])) if rows[i] < held else split.load(int(rows[i]) - held)

        names = [*self.images.names, *split.names]
        return Split(load, {}, [names[row] for row in rows]), np.flatnonzero(rows >= held)[:n]


def read(folder: pathlib.Path) -> Shots:
    """The images of DIR/CLASS/file; InputError for fewer than two classes and for one without images."""
    found = sources.open_whole(f"folder:{folder}")
    if set(found.splits) != {"train"}:
        raise InputError(f"--shots {folder} holds {', '.join(found.splits)}: name one, such as {folder}/train.")
    images = found.splits["train"]
    labels = images.labels["label"]
    counts = np.bincount(labels, minlength=len(found.classes))
    if len(counts) < 2:
        raise InputError(f"--shots {folder} holds one class: give a folder for each of two or more.")
    if not counts.all():
        empty = found.classes[int(counts.argmin())]
        raise InputError(f"--shots {folder} has no image in '{empty}': put some there or remove the folder.")
    ordered = images.take(np.argsort(labels, kind="stable"))
    return Shots(ordered, found.classes, tuple(counts.tolist()))
