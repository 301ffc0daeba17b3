"""Several frozen backbones together: their features side by side, and their predictions stacked by a linear model.

    python scripts/stack.py --data folder:DIR mobilenet_v2_tf=file:F resnet20_cifar=bundled [--reduce pca:64]
        [--folds 5] [--seed 0] [--json FILE] [--config.image_size=64 ...]

Of each backbone a logistic regression is fitted on the training features. The stack learns from what each says of the
images that it was not fitted on (Wolpert 1992, stacked generalisation); nothing is fitted or chosen on test images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from scripts import backbones
from tl.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description="Joins several frozen backbones on labelled data.")
    parser.add_argument("backbones", nargs="+", metavar="MODEL=WEIGHTS")
    parser.add_argument("--data", required=True, help="a labelled source, as config.data")
    parser.add_argument("--reduce", default="", help="pca:N or random:N features of each, fitted on training images")
    parser.add_argument("--folds", type=int, default=5, help="parts of train, each predicted by the others (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds (0)")
    parser.add_argument("--json", type=pathlib.Path, help="the rows in a file as well")
    options, flags = parser.parse_known_args(argv)
    try:
        from tl import config, reduction
        from tl.report.files import check_place, write_atomic
        from tl.runtime import prepare

        check_place(options.json, "--json")
        prepare()
        way = reduction.parse(options.reduce)
        shared = {"seed": options.seed, **config.parse_flags(flags), "data": options.data}
        named = [backbones.split(text) for text in options.backbones]
        experiments = [backbones.experiment_of(model, weights, shared) for model, weights in named]  # all errors first
        check(experiments[0], len(named), options.folds)
        tables = [backbones.features_of(experiment, ["train", "test"])[0] for experiment in experiments]
        check_width(way, tables, options.folds)
        rows = joined(dict(zip(options.backbones, tables, strict=True)), way, options.folds, options.seed)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    from tl.report.table import print_table

    shown = [[row["features from"], f"{row['out_of_fold']:.4f}", f"{row['test']:.4f}"] for row in rows]
    print_table(f"{options.data}: accuracy", ["features from", "out of fold", "test"], shown)
    if options.json:
        write_atomic(options.json, json.dumps(rows, indent=1))
    return 0


def check(experiment: Any, count: int, folds: int) -> None:
    """InputError for too few backbones, and for classes that cannot be cut into the folds."""
    fewest = int(np.unique(experiment.dataset.splits["train"].labels["label"], return_counts=True)[1].min())
    if count < 2:
        raise InputError("one backbone has nothing to be joined with: name two MODEL=WEIGHTS or more.")
    if not 2 <= folds <= fewest:
        raise InputError(f"--folds {folds} is not possible: 2 to {fewest}, the images of the smallest class.")


def check_width(way: tuple[str, int], tables: Sequence[Any], folds: int) -> None:
    """InputError for more reduced features than a backbone, or the images of all folds but one, can give."""
    most = min(min(table["train"]["features"].shape) for table in tables)
    most = min(most, len(tables[0]["train"]["features"]) * (folds - 1) // folds)
    if way[1] > most:
        raise InputError(f"--reduce {way[0]}:{way[1]} asks for more than the {most} there can be: take fewer.")


def joined(tables: Mapping[str, Any], way: tuple[str, int], folds: int, seed: int) -> list[dict[str, Any]]:
    """A row for each backbone alone, their mean, their features side by side, and their stack."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    (first, *_) = tables.values()
    labels, wanted = first["train"]["label"], first["test"]["label"]

    def row(name: str, guesses: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        found = {"out_of_fold": np.mean(guesses == labels), "test": np.mean(test == wanted)}
        return {"features from": name, **{key: float(value) for key, value in found.items()}}

    def answers(model: Any, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        guesses = np.asarray(cross_val_predict(model, train, labels, cv=parts, method="predict_proba"))
        return guesses, model.fit(train, labels).predict_proba(test)

    features = {name: (table["train"]["features"], table["test"]["features"]) for name, table in tables.items()}
    widths = [pair[0].shape[1] for pair in features.values()]
    each = {name: answers(probe([pair[0].shape[1]], way, seed), *pair) for name, pair in features.items()}
    mean = [np.mean([pair[i] for pair in each.values()], axis=0) for i in (0, 1)]
    logs = [np.log(np.maximum(said, 1e-12)) for said in beside(each.values())]
    each["the mean of these"] = (mean[0], mean[1])
    each["all side by side"] = answers(probe(widths, way, seed), *beside(features.values()))
    each["stacked"] = answers(LogisticRegression(C=0.1, max_iter=2000), *logs)
    classes = np.unique(labels)
    return [row(name, *(classes[said.argmax(axis=1)] for said in pair)) for name, pair in each.items()]


def probe(widths: Sequence[int], way: tuple[str, int], seed: int) -> Any:
    """A logistic regression on blocks of `widths` columns, each standardised and reduced by itself."""
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.random_projection import GaussianRandomProjection

    kinds = {"pca": PCA, "random": GaussianRandomProjection}
    edges = np.cumsum([0, *widths])
    blocks = [
        (
            str(number),
            make_pipeline(StandardScaler(), *([kinds[way[0]](way[1], random_state=seed)] if way[0] else [])),
            slice(first, last),
        )
        for number, (first, last) in enumerate(itertools.pairwise(edges))
    ]
    return make_pipeline(ColumnTransformer(blocks), LogisticRegression(C=0.1, max_iter=2000))


def beside(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """The first of every pair side by side, and the second."""
    return [np.concatenate(side, axis=1) for side in zip(*pairs, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
