"""What every source gives: splits that load one image, text or triple at a time, with their labels beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """N images, or rows of another `field`, and their labels.

    `load(i)` gives image i as uint8 (H, W, 3) RGB, or with `width` D row i as float32 (D,), and may be called from
    several threads. A `text` is a sentence, `words` are those of one, each with a tag; in their place stand `tokens`
    before a run begins (tl/data/texts.py). Rows of another field are as the models want them that read it. A broken
    file raises InputError with its name. `labels` holds one array of N rows for each task: int32 (N,) for classes,
    float32 (N,) or (N, K) for targets and multi-label, int32 (N, L) for tags, -1 where there is none. `names` are the
    file names or `SET/POSITION`, for reports. `in_memory` says that `load` only indexes an array, so that more threads
    would bring nothing.
    """

    load: Callable[[int], Any]
    labels: Mapping[str, np.ndarray]
    names: Sequence[str]
    in_memory: bool = False
    width: int = 0  # of the vectors that stand in place of images
    field: str = "image"  # under which a batch holds the rows, and which the model `reads`
    origin: str = ""  # fingerprint of the source, or of the sources, that the images are from

    def __len__(self) -> int:
        return len(self.names)

    @property
    def holds(self) -> str:
        """What the rows are, in words."""
        named = {"image": "images", "triple": "triples", **dict.fromkeys(("text", "words", "tokens"), "sentences")}
        return f"vectors of {self.width} numbers" if self.width else named.get(self.field, self.field)

    @property
    def pictures(self) -> bool:
        """Whether there is something to look at: neither vectors nor anything else than images."""
        return self.field == "image" and not self.width

    @property
    def written(self) -> bool:
        """Whether the rows are sentences of which tokens are still to be made."""
        return self.field in ("text", "words")

    def table(self) -> dict[str, np.ndarray]:
        """The labels of all rows, and `index`, as they come back from a device."""
        fields = {**self.labels, "index": np.arange(len(self), dtype=np.int32)}
        return {field: np.asarray(rows, jax.dtypes.canonicalize_dtype(rows.dtype)) for field, rows in fields.items()}

    def take(self, indices: np.ndarray | Sequence[int]) -> Split:
        """The images at `indices`, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        load, names = self.load, self.names
        return dataclasses.replace(
            self,
            load=lambda i: load(int(indices[i])),
            labels={task: values[indices] for task, values in self.labels.items()},
            names=[names[int(i)] for i in indices],
        )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The splits `train`, `val` and `test` of one source, or of several domains; see domains.open_domains.

    `domains` are the names of the labelled ones where there are several, `target` that of the one to adapt to, whose
    images are the splits `target` (test images, with labels for evaluation) and `unlabelled` (without any).
    `classes` are the names of the classes in label order (of the columns, for multi-label); empty for
    regression. Of a knowledge graph these are the entities, and `relations` the names of its relations, in order of
    their numbers. `fingerprint` is a sha256 that changes when the source's content does; it does not depend on
    seed or cuts. Where there are several tasks, `tasks` are the kind and the classes of each.
    """

    splits: Mapping[str, Split]
    classes: tuple[str, ...]
    fingerprint: str
    domains: tuple[str, ...] = ()
    target: str = ""
    tasks: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    relations: tuple[str, ...] = ()
    named: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # classes of splits, if others each
    nodes: np.ndarray | None = None  # features of the entities that rows are shares of, see rows.open_rows

    @property
    def field(self) -> str:
        """Under which a batch holds the rows."""
        return self.splits["train"].field


def concatenate(first: Split, second: Split) -> Split:
    """The images of `first`, then those of `second`."""
    n = len(first)
    return dataclasses.replace(
        first,
        load=lambda i: first.load(i) if i < n else second.load(i - n),
        labels={task: np.concatenate([values, second.labels[task]]) for task, values in first.labels.items()},
        names=[*first.names, *second.names],
        in_memory=first.in_memory and second.in_memory,
        origin=first.origin if first.origin == second.origin else f"{first.origin}+{second.origin}",
    )


def from_array(images: np.ndarray, labels: np.ndarray, prefix: str) -> Split:
    """A split over uint8 `images` (N, H, W), (N, H, W, 1) or (N, H, W, 3), named `prefix/POSITION`."""

    def load(i: int) -> np.ndarray:
        image = images[i]
        if image.ndim == 2:
            image = image[:, :, None]
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    names = [f"{prefix}/{i}" for i in range(len(images))]
    return Split(load, {"label": labels}, names, in_memory=True)
