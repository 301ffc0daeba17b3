"""Omniglot (Lake et al. 2015, Science 350:1332): 1,623 characters of 50 alphabets, each drawn by 20 people."""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np
from PIL import Image

from tl.data.arrays import opened
from tl.data.base import Dataset, Split, from_array
from tl.data.episodes import labels_of
from tl.episodes import Shape
from tl.errors import InputError

DRAWN, SIZE = 105, 28  # pixels of the drawings, and of what all published figures are made on
RUN = Shape(20, 1, 1)  # Lake's one-shot task: twenty characters of an alphabet, two drawings of each


def omniglot(argument: str, task: str) -> Dataset:
    """`omniglot:FILE[#ALPHABET,ALPHABET,...]`: `x_background`, `x_evaluation` (N, 1379), bits of 105 x 105 pixels.

    Beside them `y_*` (N,) and `class_names_*`, ALPHABET/CHARACTER. The background alphabets are `train`, all or those
    that are named, the evaluation alphabets `test`. Ink is white, on 28 x 28 pixels.
    """
    file, _, listed = argument.partition("#")
    path = pathlib.Path(file)
    with opened(path, "omniglot:FILE") as (arrays, identity):
        wanted = [f"{kind}_{part}" for part in ("background", "evaluation") for kind in ("x", "y", "class_names")]
        for key in wanted:
            if key not in arrays:
                raise InputError(f"'{path}' has no array {key}: it is no Omniglot of {', '.join(wanted)}.")
        held = {key: arrays[key] for key in wanted}
    names = [str(name) for name in held["class_names_background"]]
    keep = np.ones(len(names), bool)
    if listed:
        alphabets = sorted({name.partition("/")[0] for name in names})
        for alphabet in listed.split(","):
            if alphabet not in alphabets:
                raise InputError(f"'{path}' has no background alphabet '{alphabet}': it has {', '.join(alphabets)}.")
        keep = np.array([name.partition("/")[0] in listed.split(",") for name in names])
    place = np.cumsum(keep) - 1
    rows = np.flatnonzero(keep[held["y_background"]])
    names = [name for name, kept in zip(names, keep, strict=True) if kept]
    splits = {
        "train": from_array(pictures(held["x_background"][rows]), place[held["y_background"][rows]], "background"),
        "test": from_array(pictures(held["x_evaluation"]), held["y_evaluation"].astype(int) + len(names), "evaluation"),
    }
    names += [str(name) for name in held["class_names_evaluation"]]
    return Dataset(splits, tuple(names), hashlib.sha256(repr((identity, listed)).encode()).hexdigest())


def runs(argument: str) -> Split:
    """`omniglot_runs:FILE`: Lake's 20 runs as episodes of RUN's shape, for a test.

    `train` and `test` (R, 20, 1379) are bits of drawings, `answer` (R, 20) says which of train each of test is.
    """
    path = pathlib.Path(argument)
    with opened(path, "omniglot_runs:FILE") as (arrays, _):
        if not {"train", "test", "answer"} <= set(arrays):
            raise InputError(f"'{path}' has no arrays train, test and answer: it is not Lake's runs.")
        shots, queries, answer = (arrays[key] for key in ("train", "test", "answer"))
    of_class = np.argsort(answer, axis=1)  # which of test shows class 0, 1, ...
    queries = np.take_along_axis(queries, of_class[:, :, None], axis=1)
    both = np.stack([shots, queries], axis=2)
    split = from_array(pictures(both.reshape(-1, both.shape[-1])), np.zeros(both.shape[0] * RUN.rows, int), "run")
    return Split(split.load, labels_of(RUN, len(both)), split.names, in_memory=True)


def check_unknown(runs: Split, dataset: Dataset) -> None:
    """InputError where drawings of the runs are trained on or chosen by."""
    tested = {runs.load(i).tobytes() for i in range(len(runs))}
    for name in {"train", "val"} & dataset.splits.keys():
        split = dataset.splits[name]
        if known := sum(split.load(i).tobytes() in tested for i in range(len(split))):
            raise InputError(
                f"{known} images of {name} are those that config.episode.test asks about: leave out "
                "config.episode.classes, which cuts the alphabets of the runs, too."
            )


def pictures(bits: np.ndarray) -> np.ndarray:
    """(N, 1379) packed rows of 105 x 105 pixels -> (N, 28, 28) uint8."""
    drawn = np.unpackbits(bits, axis=1)[:, : DRAWN * DRAWN].reshape(-1, DRAWN, DRAWN) * np.uint8(255)
    small = [Image.fromarray(one).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for one in drawn]
    return np.stack([np.asarray(one) for one in small])
