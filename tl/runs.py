"""Many runs from one config: variants x seeds x folds side by side, stages one after the other, ensembles."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tl import checks, tasks, weights, workdir
from tl import config as configs
from tl.config import Config
from tl.errors import InputError
from tl.report import html, provenance, table
from tl.report.files import plain, read_rows, write_atomic

Summary = dict[str, Any]
RunOne = Callable[..., Summary]
EVALUATED = ("val/", "test/", "target/")


def is_set(config: Config) -> bool:
    return bool(config.variants) or bool(config.seeds) or (config.folds > 0 and config.fold < 0)


def members(config: Config) -> list[tuple[str, str, Config]]:
    """(variant, folder inside the set's, config) of every run of the set."""
    if config.folds == 1 or config.folds < 0:
        raise InputError(f"config.folds={config.folds}: k-fold needs k >= 2, or 0 for none.")
    variants = config.variants.to_dict() or {"": {}}
    seeds = list(config.seeds) or [config.seed]
    folds = list(range(config.folds)) if config.folds and config.fold < 0 else [config.fold]
    single = {"variants": {}, "seeds": ()}
    found = []
    for (variant, changes), seed, fold in itertools.product(variants.items(), seeds, folds):
        names = [variant, f"seed{seed}" if len(seeds) > 1 else "", f"fold{fold}" if len(folds) > 1 else ""]
        one = configs.merged(configs.merged(config, single), {"seed": seed, "fold": fold, **changes})
        found.append((variant, "/".join(filter(None, names)) or f"seed{seed}", one))
    return found


def run_set(config: Config, folder: pathlib.Path, run_one: RunOne, *, quiet: bool = False) -> Summary:
    """Every member in its own folder; a table, a report and a summary of means over seeds and folds."""
    spent = workdir.Spent("own")
    todo = members(config)
    workdir.claim(folder, config)
    spent.open(folder)
    results: dict[str, list[tuple[str, Summary]]] = {}
    for number, (variant, path, member) in enumerate(todo, start=1):
        with spent.part(folder / path):
            summary = run_one(member, folder / path, quiet=quiet)
        results.setdefault(variant, []).append((path, summary))
        if not quiet:
            print(f"[{number}/{len(todo)}] {path}: {headline(summary)}", flush=True)
    rows = [
        {"variant": variant, "metric": metric, "mean": mean, "std": std, "n": n}
        for variant, found in results.items()
        for metric, (mean, std, n) in aggregate([summary for _, summary in found]).items()
    ]
    summary = {"/".join(filter(None, [r["variant"], r["metric"]])): r["mean"] for r in rows}
    summary |= {"/".join(filter(None, [r["variant"], r["metric"], "std"])): r["std"] for r in rows}
    summary |= {
        "n": len(todo) // max(1, len(results)),
        "seeds": list(config.seeds) or [config.seed],
        "commit": provenance.commit(),
        **{f"version/{name}": version for name, version in provenance.versions().items()},
        "time/wall_s": spent.total(folder / path for _, path, _ in todo),
    }
    if jax.process_index() == 0:
        report = html.write_set(
            folder,
            title=folder.name,
            rows=[(r["variant"], r["metric"], r["mean"], r["std"], r["n"]) for r in rows],
            runs={path: (f"{path}/report.html", one) for found in results.values() for path, one in found},
            curves={
                variant or "runs": [read_rows(folder / path) for path, _ in found] for variant, found in results.items()
            },
            variants={variant or "runs": [path for path, _ in found] for variant, found in results.items()},
            configs={variant or "runs": json.loads(configs.to_json(one)) for variant, _, one in reversed(todo)},
            command=provenance.command(),
        )
        write_atomic(folder / "summary.json", json.dumps(plain(summary), indent=1))
        if not quiet:
            print_set(rows)
            print(f"report: {report}")
    return summary


def aggregate(summaries: list[Summary]) -> dict[str, tuple[float, float, int]]:
    """{metric: (mean, sample standard deviation, n)} of the numbers that all runs have."""
    keys = [k for k, v in summaries[0].items() if isinstance(v, float | int) and not k.startswith(("seed", "version"))]
    result = {}
    for key in keys:
        values = [s[key] for s in summaries if isinstance(s.get(key), float | int)]
        if len(values) == len(summaries):
            result[key] = (*table.mean_std(values), len(values))
    return result


def print_set(rows: list[dict[str, Any]]) -> None:
    """The metrics of the test split, a line per variant."""
    leading = ("target/accuracy", "target/accuracy_oracle", "source/accuracy")
    if not any(r["metric"] == leading[0] for r in rows):
        told = ("accuracy", "loss", "f1_macro", "mae", "r2")
        leading = [r["metric"] for r in rows if leads(r["metric"], told)]
    shown = [r for r in rows if r["metric"] in leading]
    metrics = list(dict.fromkeys(r["metric"] for r in shown))
    variants = list(dict.fromkeys(r["variant"] for r in shown))
    cell = {(r["variant"], r["metric"]): table.spread(r["mean"], r["std"], r["n"]) for r in shown}
    count = shown[0]["n"] if shown else 0
    table.print_table(
        f"mean ± standard deviation of {count} runs",
        ["", *metrics],
        [[variant, *(cell.get((variant, metric), "") for metric in metrics)] for variant in variants],
    )


def leads(metric: str, names: Sequence[str]) -> bool:
    """Whether it is one of `names` on the test split, of any task."""
    return metric.startswith("test/") and metric.rsplit("/", 1)[-1] in names


def headline(summary: Summary) -> str:
    """The one figure to say of a run in passing."""
    of_tasks = [name for name in summary if leads(name, ("accuracy", "f1_macro", "r2"))]
    names = ("target/accuracy", "test/accuracy", "test/f1_macro", "test/r2", "val/accuracy", *of_tasks)
    metric = next((n for n in names if n in summary), None)
    figure = f"{metric} {summary[metric]:.4f}" if metric else "done"
    return f"{figure}, {summary.get('time/wall_s', 0):.0f} s"


def run_stages(
    config: Config,
    folder: pathlib.Path,
    run_one: RunOne,
    changes: Sequence[Mapping[str, Any]],
    *,
    about: Callable[[list[pathlib.Path]], Summary] = lambda folders: {},
    quiet: bool = False,
) -> Summary:
    """The same loop again from the last stage's selected weights; finished stages are skipped when the run goes on.

    `changes` are what each stage sets; `about` gives the summary what only the folders of all stages together tell.
    """
    if any(configs.merged(config, dict(own)).get("privacy", {"noise": 0.0})["noise"] for own in ({}, *changes)):
        raise InputError("config.privacy counts the steps of one run, and this one has stages: leave one of them out.")
    if config.get("reverse_validation", False):
        raise InputError(
            "config.reverse_validation turns one run around, and this one has stages: the way back would start from "
            "what the source's labels taught. Leave one of the two out."
        )
    spent = workdir.Spent("own")
    checks.then(config)
    base = configs.merged(config, {"stages": (), "then": ""})
    stages = []
    folders = [folder / "stages" / str(number) for number in range(len(changes))]
    for number, own in enumerate(changes):
        follows = {"weights": f"run:{folders[number - 1]}", "classifier": "auto"} if number else {}
        stages.append(configs.merged(base, {**follows, **dict(own)}))
    workdir.claim(folder, config)
    spent.open(folder)
    summary: Summary = {}
    for number, stage in enumerate(stages):
        if not quiet:
            print(f"stage {number + 1} of {len(stages)}", flush=True)
        with spent.part(folders[number]):
            done = run_one(stage, folders[number], quiet=quiet)
        times = {key: done[key] + summary.get(key, 0.0) for key in ("time/start_s", "time/train_s") if key in done}
        summary |= {
            f"stage{number}/{key}": value for key, value in done.items() if key.startswith(("val/", "test/", "target/"))
        }
        summary |= done | times
    summary |= about(folders)
    summary["time/wall_s"] = spent.total(folders)
    if jax.process_index() == 0:
        for name in ("weights.safetensors", "predictions.npz"):
            if (folders[-1] / name).is_file():
                write_atomic(folder / name, (folders[-1] / name).read_bytes())
        html.write_staged(folder, [path / "report.html" for path in folders], summary["time/wall_s"])
        write_atomic(folder / "summary.json", json.dumps(plain(summary), indent=1))
    return summary


def run_ensemble(config: Config, folder: pathlib.Path, run_one: RunOne, *, quiet: bool = False) -> Summary:
    """Evaluate every one of the weights joined by +, and what they say together.

    `ensemble` is the mean of their probabilities; `interpolate`, of two, outputs f + lambda (g - f), for a network of
    the source and one of the target.
    """
    if config.steps != 0:
        raise InputError(
            f"config.combine='{config.combine}' joins what is trained already: use it with configs/evaluate.py."
        )
    if config.tasks:
        raise InputError(f"config.combine='{config.combine}' joins predictions of one task: leave config.tasks out.")
    if config.task == "ranking":
        raise InputError(f"config.combine='{config.combine}' joins predictions, and ranks are none: take 'soup'.")
    spent = workdir.Spent("own")
    specs = weights.split_specs(config.weights)
    if config.combine == "interpolate" and len(specs) != 2:
        raise InputError(f"config.combine='interpolate' is between two networks, not {len(specs)}: weights=A+B.")
    workdir.claim(folder, config)
    spent.open(folder)
    summary: Summary = {}
    alone: dict[str, Summary] = {}
    folders = [folder / f"member{number}" for number in range(len(specs))]
    for own, spec in zip(folders, specs, strict=True):
        member = configs.merged(config, {"weights": spec, "combine": "soup"})
        with spent.part(own):
            done = run_one(member, own, quiet=quiet)
        summary |= {f"{own.name}/{key}": value for key, value in done.items() if key.startswith(EVALUATED)}
        alone[own.name] = done
    tables = [dict(np.load(own / "predictions.npz")) for own in folders]
    streams = [stream.rstrip("/") for stream in EVALUATED if f"{stream}label" in tables[0]]
    classes = tuple(str(i) for i in range(max(2, tables[0][f"{streams[0]}/outputs/label"].shape[1])))
    task = tasks.make("label", config.task, classes)
    together: Summary = {}
    for stream in streams:
        outputs = [table[f"{stream}/outputs/label"] for table in tables]
        if config.combine == "interpolate":
            joint = outputs[0] + config.interpolation * (outputs[1] - outputs[0])
        else:
            joint = task.outputs_of(np.mean([task.probabilities(own) for own in outputs], axis=0))
        together |= {f"{stream}/{k}": v for k, v in task.metrics(joint, tables[0][f"{stream}/label"]).items()}
    summary |= together
    summary |= {"members": len(specs), "seed": config.seed, "commit": provenance.commit()}
    summary["time/wall_s"] = spent.total(folders)
    if jax.process_index() == 0:
        write_ensemble(folder, config.combine, together, alone)
        write_atomic(folder / "summary.json", json.dumps(plain(summary), indent=1))
    if not quiet:
        print(headline(summary))
    return summary


def write_ensemble(folder: pathlib.Path, name: str, together: Summary, alone: Mapping[str, Summary]) -> None:
    """`folder/report.html`: what the members in `folder` say together, under `name`, beside what each says alone."""
    html.write_set(
        folder,
        title=folder.name,
        rows=[
            (own, key, figures[key], 0.0, 1)
            for own, figures in {name: together, **alone}.items()
            for key in together
            if key in figures
        ],
        runs={own: (f"{own}/report.html", done) for own, done in alone.items()},
        curves={},
        variants={own: [own] for own in alone},
        command=provenance.command(),
    )
