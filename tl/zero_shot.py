"""A classifier's rows for classes that it has not seen: opened as data, and judged on images."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from tl import mesh as meshes
from tl import models, optim, weights
from tl.config import Config
from tl.data import rows, sources, streams, transforms
from tl.data.base import Dataset, Split
from tl.errors import InputError, unknown
from tl.evaluators.collect import Collected, collect
from tl.net import Net
from tl.preprocess import Preprocess

BATCH = 32  # images that go through the network together


def asked(config: Config) -> bool:
    """Whether the run predicts rows of a classifier."""
    return bool(config.get("zero_shot", {"weights": ""})["weights"])


def check(config: Config, predicts: bool) -> None:
    """InputError where a method `predicts` rows and the config asks for none, or does not and it does."""
    if predicts != asked(config):
        wrong = "predicts rows of a classifier: name it" if predicts else "predicts no rows: leave it out"
        raise InputError(
            f"config.zero_shot.weights='{config.zero_shot.weights}' and the method '{config.method}' do not go "
            f"together: the method {wrong}."
        )


def classifier(config: Config) -> tuple[np.ndarray, list[str]]:
    """(C, D + 1) kernel and bias of each class of config.zero_shot.weights, and the C names of entities.

    An output more than there are names is the first, background. InputError where they do not go together.
    """
    about = config.zero_shot
    loaded = weights.load(about.weights, about.model)
    flat = loaded.flat if loaded else {}
    if "params/head/kernel" not in flat:
        raise InputError(f"config.zero_shot.weights='{about.weights}' has no classifier: name weights that bring one.")
    found = np.concatenate([flat["params/head/kernel"], flat["params/head/bias"][None]]).T
    path = pathlib.Path(os.path.expandvars(about.names)).expanduser()
    if not path.is_file():
        raise InputError(f"no such file: '{about.names}' (config.zero_shot.names, a JSON list of WordNet ids).")
    try:
        held = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"'{about.names}' is no JSON ({error}): write a list of WordNet ids.") from error
    if not isinstance(held, list):
        raise InputError(f"'{about.names}' holds no list: write one of WordNet ids, in the order of the classes.")
    names = [str(name).removeprefix("n") for name in held]
    if len(found) not in (len(names), len(names) + 1):
        raise InputError(
            f"'{about.names}' names {len(names)} classes, and the classifier of '{about.weights}' has {len(found)} "
            "outputs: name them all, but for background."
        )
    return found[len(found) - len(names) :], names


def open_rows(config: Config) -> Dataset:
    """The classes of config.zero_shot as rows, see rows.open_rows."""
    found, names = classifier(config)
    about = config.zero_shot
    cuts = {"seen": about.seen, "unseen": tuple(about.unseen), "seed": config.seed, "val_fraction": config.val_fraction}
    return rows.open_rows(config.data, found, names, **cuts)


def judge(config: Config, own: Dataset) -> Callable[[Mapping[str, Collected]], dict[str, float]]:
    """What will be said of the predicted rows on config.zero_shot.images, {} where none are named.

    The images are opened first, so that what is wrong with them is known before any training.
    """
    about = config.zero_shot
    if not about.images:
        return lambda collected: {}
    images = sources.open_source(about.images, val_fraction=0.0)
    unseen = list(own.splits["test"].names)
    for name in images.classes:
        if about.entities.get(name, "") not in unseen:
            raise unknown(
                f"unseen class in config.zero_shot.entities for '{name}'", about.entities.get(name, ""), unseen
            )
    true = np.array([unseen.index(about.entities[name]) for name in images.classes])
    seen = np.concatenate([split.labels["label"] for name, split in own.splits.items() if name != "test"])

    def said(collected: Mapping[str, Collected]) -> dict[str, float]:
        predicted = collected["test"]["outputs/label"]
        tables = features_of(about.weights, about.model, [images.splits[name] for name in ("train", "test")])
        values = {}
        for name, chosen in {"images": tables[1:], "all_images": tables}.items():
            table = {field: np.concatenate([part[field] for part in chosen]) for field in ("pooled", "label")}
            of_set = figures(table["pooled"], table["label"], predicted, seen, true)
            values |= {f"{name}/{metric}": value for metric, value in of_set.items()}
        return values

    return said


def features_of(spec: str, model: str, splits: Sequence[Split]) -> list[Collected]:
    """`pooled` features of the untouched network and labels of each split."""
    loaded = weights.load(spec, model)
    assert loaded is not None
    preprocess = loaded.preprocess if isinstance(loaded.preprocess, Preprocess) else models.preprocess(model)
    flat = {path: leaf for path, leaf in loaded.flat.items() if path.split("/")[1] == "backbone"}
    module, mesh = {"backbone": models.make(model)}, meshes.make_mesh()

    @jax.jit
    def compute(variables: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        net = Net(module, (), {"backbone": preprocess}, variables["params"], variables["stats"])
        return {"pooled": net.maps(batch)["pooled"]}

    plain, size = transforms.compose(transforms.evaluation(preprocess)), -(-BATCH // mesh.size) * mesh.size
    batches = [streams.eval_batches(split, plain, size, mesh) for split in splits]
    return [collect(partial(compute, optim.nested_of(flat)), one) for one in batches]


def figures(
    features: np.ndarray, labels: np.ndarray, predicted: np.ndarray, seen: np.ndarray, true: np.ndarray
) -> dict[str, float]:
    """(N, D) features, (N,) labels, (U, D + 1) predicted rows, (S, D + 1) seen ones, (C,) which of U each class is.

    `accuracy` among the C classes alone; `hits` among all U unseen ones, and with the S seen ones beside them (`all`).
    The last number of a row is its bias; all rows are made of length 1. Equal scores are averaged: rows may be the
    same. NaN where a row is not finite.
    """
    names = ("accuracy", *(f"{which}hits{most}" for which in ("", "all_") for most in (1, 2, 5, 10)))
    if not np.isfinite(predicted).all():
        return dict.fromkeys(names, float("nan"))
    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (predicted, seen)]
    unseen, known = (np.round(inputs @ rows.T, 9) for rows in unit)  # else rounding errors would tell equal rows apart
    own = np.take_along_axis(unseen, true[labels][:, None], axis=1)
    places = 1 + (unseen > own).sum(axis=1) + ((unseen == own).sum(axis=1) - 1) / 2
    among_all = places + (known > own).sum(axis=1) + (known == own).sum(axis=1) / 2
    best = unseen[:, true] == unseen[:, true].max(axis=1, keepdims=True)
    right = best[np.arange(len(labels)), labels] / best.sum(axis=1)
    hits = [(at <= most).mean() for at in (places, among_all) for most in (1, 2, 5, 10)]
    return dict(zip(names, map(float, [right.mean(), *hits]), strict=True))
