"""A classifier's rows for classes that it has not seen: opened as data, and judged on images."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np

from tl import begin, weights
from tl import config as configs
from tl.config import Config
from tl.data import rows
from tl.data.base import Dataset
from tl.errors import InputError, unknown
from tl.evaluators.collect import Collected, collect
from tl.train import Experiment

# Of the run that sees the images: the untouched network, and every image once.
LOOK = {"zero_shot.weights": "", "task": "classification", "method": "finetune", "method_args": {}, "steps": 0}
LOOK |= {"val_fraction": 0.0, "batch_size": 32, "eval_batch_size": 32, "select": "", "optim.name": "adam"}
LOOK |= {"classifier": "replace", "groups": ((".*", {}),)}


def asked(config: Config) -> bool:
    """Whether the run predicts rows of a classifier."""
    return bool(config.get("zero_shot", {"weights": ""})["weights"])


def check(config: Config, predicts: bool) -> None:
    """InputError where a method `predicts` rows and the config asks for none, or does not and it does."""
    if predicts != asked(config):
        raise InputError(
            f"config.zero_shot and the method '{config.method}' do not go together: dgp and nearest_rows predict rows "
            "of config.zero_shot.weights, and nothing else does."
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
    names = [str(name).removeprefix("n") for name in json.loads(path.read_text())]
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


def judge(
    config: Config, own: Experiment, experiment: Callable[[Config], Experiment]
) -> Callable[[Mapping[str, Collected]], dict[str, float]]:
    """What will be said of the predicted rows on config.zero_shot.images, {} where none are named.

    The images' run is made first, so that what is wrong with it is known before any training.
    """
    if not config.zero_shot.images:
        return lambda collected: {}
    changes = {**LOOK, **{key: config.zero_shot[key] for key in ("weights", "model")}, "data": config.zero_shot.images}
    look = experiment(configs.merged(config, changes))
    unseen, entities = list(own.dataset.splits["test"].names), config.zero_shot.entities
    for name in look.dataset.classes:
        if entities.get(name, "") not in unseen:
            raise unknown(f"unseen class in config.zero_shot.entities for '{name}'", entities.get(name, ""), unseen)
    true = np.array([unseen.index(entities[name]) for name in look.dataset.classes])
    learnt = [split for name, split in own.dataset.splits.items() if name != "test"]
    seen = np.concatenate([split.labels["label"] for split in learnt])

    def said(collected: Mapping[str, Collected]) -> dict[str, float]:
        predicted = collected["test"]["outputs/label"]
        found = features_of(look)
        values = {}
        for name, tables in {"images": found[-1:], "all_images": found}.items():
            table = {field: np.concatenate([part[field] for part in tables]) for field in tables[0]}
            of_set = figures(table["pooled"], table["label"], predicted, seen, true)
            values |= {f"{name}/{metric}": value for metric, value in of_set.items()}
        return values

    return said


def features_of(look: Experiment) -> list[Collected]:
    """`pooled` features and labels of the training images, then of those of test."""
    state, _ = begin.init(look)
    bind = begin.binder(look, lambda path: False)
    compute = jax.jit(lambda params, stats, batch: {"pooled": bind(params, stats).maps(batch)["pooled"]})
    sets = (look.passes["train"], look.evals["test"])
    return [collect(lambda batch: compute(state.params, state.stats, batch), batches) for batches in sets]


def figures(
    features: np.ndarray, labels: np.ndarray, predicted: np.ndarray, seen: np.ndarray, true: np.ndarray
) -> dict[str, float]:
    """(N, D) features, (N,) labels, (U, D + 1) predicted rows, (S, D + 1) seen ones, (C,) which of U each class is.

    `accuracy` among the C classes alone; `hits` among all U unseen ones, and with the S seen ones beside them (`all`).
    The last number of a row is its bias; all rows are made of length 1.
    """
    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (predicted, seen)]
    unseen, known = (inputs @ rows.T for rows in unit)
    own = np.take_along_axis(unseen, true[labels][:, None], axis=1)
    ahead = (unseen > own).sum(axis=1)
    among_all = ahead + (known > own).sum(axis=1)
    values = {"accuracy": float((unseen[:, true].argmax(axis=1) == labels).mean())}
    for name, places in {"": ahead, "all_": among_all}.items():
        values |= {f"{name}hits{most}": float((places < most).mean()) for most in (1, 2, 5, 10)}
    return values
