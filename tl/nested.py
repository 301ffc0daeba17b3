"""Nested cross-validation: what is chosen on some images is tested on others (Varma and Simon 2006)."""

from __future__ import annotations

import collections
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from tl import config as configs
from tl import runs, workdir
from tl.config import Config
from tl.errors import InputError
from tl.metrics import lower_is_better
from tl.report import html, provenance, table
from tl.report.files import plain, read_lines, write_atomic


def check(config: Config) -> None:
    """InputError where there is nothing to choose from, or a second way of repeating runs."""
    if config.nested == 1 or config.nested < 0:
        raise InputError(f"config.nested={config.nested}: the folds inside a fold must be 2 or more, or 0 for none.")
    if config.folds < 2 or len(config.variants) < 2:
        raise InputError("config.nested chooses among config.variants in each of config.folds: both need two or more.")
    if config.seeds or config.stages:
        raise InputError("config.nested repeats over folds alone: leave config.seeds and config.stages empty.")


def run(config: Config, folder: pathlib.Path, run_one: runs.RunOne, *, quiet: bool = False) -> dict[str, Any]:
    """In each fold: all variants by cross-validation inside it, and the best, trained anew, tested on the fold.

    The choice is by config.select, val/accuracy where there is none. The summary has means and spread over the folds.
    """
    check(config)
    metric = config.select or "val/accuracy"
    variants = config.variants.to_dict()
    workdir.claim(folder, config)
    summaries, chosen = [], []
    for number in range(config.folds):
        outer = {"outer": (number, config.folds), "nested": 0}
        own = folder / f"fold{number}"
        inside = run_one(configs.merged(config, {**outer, "folds": config.nested}), own / "inside", quiet=quiet)
        best = choose(inside, list(variants), metric)
        single = {**outer, "folds": 0, "variants": {}, **variants[best]}
        summaries.append(run_one(configs.merged(config, single), own / "chosen", quiet=quiet))
        chosen.append(best)
        if not quiet:
            print(f"fold {number + 1} of {config.folds}: {best}, {runs.headline(summaries[-1])}", flush=True)
    figures = {key: value for key, value in runs.aggregate(summaries).items() if key.startswith(("val/", "test/"))}
    summary: dict[str, Any] = {key: mean for key, (mean, _, _) in figures.items()}
    summary |= {f"{key}/std": std for key, (_, std, _) in figures.items()}
    summary |= {f"chosen/{name}": count for name, count in collections.Counter(chosen).items()}
    summary |= {"n": config.folds, "seed": config.seed, "commit": provenance.commit()}
    if jax.process_index() == 0:
        names = [f"fold{number}/chosen" for number in range(config.folds)]
        html.write_set(
            folder,
            title=folder.name,
            rows=[("chosen", key, mean, std, n) for key, (mean, std, n) in figures.items()],
            runs={path: (f"{path}/report.html", one) for path, one in zip(names, summaries, strict=True)},
            curves={"chosen": [read_lines(folder / path / "metrics.jsonl") for path in names]},
            configs={"chosen": json.loads(configs.to_json(config))},
            command=provenance.command(),
        )
        write_atomic(folder / "summary.json", json.dumps(plain(summary), indent=1))
    if not quiet and "test/accuracy" in figures:
        print(f"test/accuracy {table.spread(*figures['test/accuracy'])}, chosen: {', '.join(chosen)}")
    return summary


def choose(inside: Mapping[str, Any], variants: list[str], metric: str) -> str:
    """The variant whose mean of `metric` over the inner folds is best, the first of equal ones."""
    means = {name: inside[f"{name}/{metric}"] for name in variants if f"{name}/{metric}" in inside}
    if len(means) < len(variants):
        missing = next(name for name in variants if name not in means)
        raise InputError(f"the variant '{missing}' has no '{metric}' to be chosen by: set config.select to one it has.")
    sign = -1 if lower_is_better(metric) else 1
    return max(variants, key=lambda name: sign * means[name])
