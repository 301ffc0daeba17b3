"""What stands on the page of a run: gathered from the run at its end, drawn by tl/report."""

from __future__ import annotations

import json
import pathlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from tl import config as configs
from tl import mesh as meshes
from tl import mistakes, moved, optim, train
from tl.data import streams
from tl.evaluators import class_report, embedding, figures
from tl.evaluators.collect import Collected, collect
from tl.report import html, images, provenance
from tl.tasks import Task

# What a network reads in place of images -> how scripts/predict.py is asked.
ASKS = {"tokens": "--text 'A SENTENCE'", "triple": "--triples 'HEAD RELATION'"}
MISTAKES = 8  # of which the report shows where they come from


def reported(sets: Mapping[str, Any]) -> str | None:
    """The evaluation set that a report is about: the target's test images, else those of test, else val."""
    return next((name for name in ("target", "test", "val") if sets.get(name)), None)


def pictures(work: train.Run, most: int = 12) -> dict[str, np.ndarray]:
    """{what it is: (N, H, W, 3) uint8}: images, and what the method makes of them; {} where it makes none."""
    experiment = work.experiment
    make, name = experiment.method.pictures, reported(experiment.evals)
    if make is None or name is None:
        return {}
    batch = next(iter(experiment.evals[name]))
    draw = jax.jit(lambda variables, memory, rows: make(work.bind(**variables), rows, memory))
    drawn = OrderedDict(images=batch["image"], **draw(work.state.variables, work.memory(), batch))
    count = min(most, experiment.evals[name].size)
    found = meshes.gather(drawn)
    return {what: np.clip(np.rint(rows[:count]), 0, 255).astype(np.uint8) for what, rows in found.items()}


def features(work: train.Run, most: int = embedding.MOST) -> Collected:
    """`features` and labels of some images, drawn by seed, of the set that the report is about; {} for none to map.

    None are where there is a target, whose features are collected anyway, or where a class is one of its episode.
    """
    experiment, name = work.experiment, reported(work.experiment.evals)
    task, split = main_task(experiment), experiment.evals[name].split if name else None
    plain = task.kind in ("classification", "binary") and experiment.together == 1 and not experiment.method.online
    if name is None or split is None or experiment.dataset.target or not plain:
        return {}
    change, batch = experiment.evals[name].transform, experiment.config.eval_batch_size or experiment.config.batch_size
    assert change is not None
    rows = np.sort(np.random.default_rng(experiment.config.seed).permutation(len(split))[:most])
    compute = jax.jit(lambda variables, inputs: {"features": work.bind(**variables).features(inputs)})
    batches = streams.eval_batches(split.take(rows), change, batch, experiment.mesh)
    return figures.labelled(task, collect(partial(compute, work.state.variables), batches))


def main_task(experiment: train.Experiment) -> Task:
    """Of several the one that the report is about."""
    every = list(experiment.tasks.values())
    return next((task for task in every if task.kind in ("classification", "binary")), every[0])


def feature_map(
    experiment: train.Experiment, collected: Mapping[str, Collected], seen: Collected
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray] | None:
    """Points, domains where there are two, labels."""
    task = main_task(experiment)
    if {"reference", "target"} <= collected.keys() and task.kind == "classification":
        return embedding.both_domains(collected["reference"], collected["target"], task.name)
    return embedding.one_domain(seen["features"], seen[task.name]) if seen else None


def write(
    work: train.Run,
    summary: Mapping[str, Any],
    collected: Mapping[str, Collected],
    shown: Mapping[str, np.ndarray],
    seen: Collected,
) -> pathlib.Path:
    """`report.html`; `shown` are rows of pictures, `seen` is what `features` gave."""
    experiment = work.experiment
    task = main_task(experiment)
    pictured = experiment.dataset.splits["train"].pictures
    asks = "FILES" if pictured else ASKS.get(experiment.dataset.field, "")
    classes, predicts = task.classes, asks and not experiment.method.online
    command = f"python scripts/predict.py --workdir {work.folder} "
    name = reported(collected)
    table = figures.labelled(task, collected[name]) if name else {}
    probabilities = labels = counted = None
    examples: list[Any] = []
    if name and len(table[task.name]):
        labels, probabilities = table[task.name], task.probabilities(table[f"outputs/{task.name}"])
        if "episode" in table:
            # A class is one of its episode, and an image by itself has no answer.
            classes = tuple(f"class {i + 1}" for i in range(probabilities.shape[1]))
            command += "--shots FOLDER "
        counted = class_report.tables(task, labels, probabilities, classes)
        if counted and pictured:
            examples = choose_examples(experiment, name, table, task.name, probabilities, classes)
    wrong = [image for image, _, true, predicted, _ in examples if true != predicted]
    return html.write_run(
        work.folder,
        title=work.folder.name,
        config=json.loads(configs.to_json(experiment.config)),
        rows=work.log.rows(),
        summary=summary,
        classes=classes,
        probabilities=probabilities,
        labels=labels,
        examples=examples,
        batch_image=first_batch(experiment) if pictured else None,
        pictures=shown,
        mistakes=mistakes.overlays(work, wrong[:MISTAKES], task.name),
        confusion=counted and counted.confusion,
        class_report=counted and counted.report,
        reported=counted.names if counted else (),
        command=provenance.command(),
        predict=f"{command}{asks}" if predicts else "",
        params_table=parameter_table(work.state.params, work.optimizer),
        kind=task.kind,
        of_task="" if len(experiment.tasks) == 1 else f" of {task.name}",
        points=feature_map(experiment, collected, seen),
        layers=moved.layers(work.state.variables["params"], work.began, experiment.config, work.optimizer),
    )


def choose_examples(
    experiment: train.Experiment,
    name: str,
    table: Collected,
    task: str,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
) -> list[tuple[np.ndarray, str, str, str, float]]:
    """The twelve most confident mistakes, then twelve of the others: (image, name, true, predicted, probability)."""
    labels, index = table[task], table["index"]
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:12]
    right = np.flatnonzero(predicted == labels)
    right = right[np.linspace(0, len(right) - 1, min(12, len(right))).astype(int)] if len(right) else right
    source = experiment.evals[name].split
    assert source is not None
    return [
        (
            source.load(int(index[i])),
            str(source.names[int(index[i])]),
            classes[labels[i]],
            classes[predicted[i]],
            float(confidence[i]),
        )
        for i in [*wrong, *right]
    ]


def first_batch(experiment: train.Experiment, most: int = 24) -> np.ndarray:
    """The first training images after augmentation, as one picture."""
    stream = experiment.streams[experiment.method.streams[0]]
    return images.grid(np.asarray(stream[0]["image"][:most]))


def parameter_table(params: Mapping[str, Any], optimizer: optim.Optimizer) -> list[dict[str, Any]]:
    """One row per layer group at depth two: how many parameters, how many moved, at which factor of the rate."""
    rows: dict[str, dict[str, Any]] = {}
    for path, leaf in optim.paths(params).items():
        name = "/".join(path.split("/")[:2])
        row = rows.setdefault(name, {"layer": name, "parameters": 0, "trained": 0, "rate factor": set()})
        row["parameters"] += int(np.size(leaf))
        if optimizer.moves(path):
            row["trained"] += int(np.size(leaf))
            row["rate factor"].add(round(optimizer.factors[path], 6))
    for row in rows.values():
        row["rate factor"] = ", ".join(f"{factor:g}" for factor in sorted(row["rate factor"])) or "frozen"
    return list(rows.values())
