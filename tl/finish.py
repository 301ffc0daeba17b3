"""From a trained state to what a run leaves behind: weights, test figures, a summary and a report."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping
from typing import Any

import jax
import numpy as np

from tl import adapters, averages, checks, mistakes, optim, privacy, selection, train, weights
from tl import config as configs
from tl import mesh as meshes
from tl.evaluators import class_report, figures, validators
from tl.evaluators.collect import Collected
from tl.evaluators.embedding import both_domains
from tl.report import html, images, provenance
from tl.report.files import plain, write_atomic
from tl.step import State
from tl.watch import Choice

# What a network reads in place of images -> how scripts/predict.py is asked.
ASKS = {"tokens": "--text 'A SENTENCE'", "triple": "--triples 'HEAD RELATION'"}
EVALUATED = ("before", "source", "val", "test", "target", "earlier")  # what figures are printed of

MISTAKES = 8  # of which the report shows where they come from


def finished(folder: pathlib.Path) -> dict[str, Any] | None:
    """The summary of a run that has ended, None of one that has not."""
    path = folder / "summary.json"
    return json.loads(path.read_text()) if path.is_file() else None


def complete(
    experiment: train.Experiment,
    folder: pathlib.Path,
    *,
    quiet: bool = False,
    report: bool = True,
    watch: train.Watch | None = None,
    also: Callable[[Mapping[str, Collected]], Mapping[str, float]] = lambda collected: {},
) -> dict[str, Any]:
    """Train, choose the weights, evaluate them on every set, and write the run's files.

    `also` makes further figures of what the evaluation gathered.
    """
    began = time.perf_counter()
    with train.start(experiment, folder, quiet=quiet) as work:
        timing = train.run(work, watch)
        trained_steps = int(work.state.step)
        chosen = Choice(experiment.config.select, work.log.rows()).row
        if chosen and chosen["step"] in work.checkpoints.steps:
            work.state = work.checkpoints.restore(work.state, chosen["step"])
        elif experiment.config.select:
            work.progress.message(f"no evaluation is fit to be chosen by {experiment.config.select}: the last step is")
        average_valley(work)
        values, collected = work.evaluate(experiment.evals)
        variables = exported(meshes.gather(work.state.variables), experiment)
        names = experiment.method.kept
        memory = work.memory() if names else {}
        kept = meshes.gather({f"memory/{name}": memory[name] for name in names})
        shown = pictures(work) if report else {}
        summary = {
            **values,
            **timing,
            **also(collected),
            **before(work),
            **(about_target(work, values, collected) if experiment.dataset.target else {}),
            **spent(experiment, trained_steps),
            "selected/step": int(work.state.step),
            "steps": trained_steps,
            "params/sha256": weights.tree_sha256(optim.paths(variables)),
            **parameter_counts(work.state, work.optimizer, brought(experiment)),
            "seed": experiment.config.seed,
            "commit": provenance.commit(),
            **{f"version/{name}": version for name, version in provenance.versions().items()},
            "time/wall_s": round(time.perf_counter() - began, 3),
        }
        if jax.process_index() == 0:
            weights.write(folder / "weights.safetensors", optim.paths(variables) | kept, dict(experiment.meta))
            write_predictions(folder, collected)
            if report:
                write_report(work, summary, collected, shown)
            # Last: the summary is the sign that the run is finished.
            write_atomic(folder / "summary.json", json.dumps(plain(summary), indent=1))
            averages.clear(folder)
            work.progress.message(f"{results(summary)}" + (f"\nreport: {folder / 'report.html'}" if report else ""))
    return summary


def average_valley(work: train.Run) -> None:
    """With SWAD, the state's average becomes that of the steps in the valley of val's loss."""
    settings = averages.swad(work.experiment.config)
    if settings and work.experiment.steps:
        mean, text = averages.finish(work.folder, work.log.rows(), settings)
        average = optim.map_paths(lambda path, _: mean[path], work.state.ema)
        work.state = dataclasses.replace(work.state, ema=meshes.place(average, work.experiment.mesh))
        work.progress.message(text)


def results(summary: Mapping[str, Any]) -> str:
    """The figures of every evaluation set, a line each."""
    lines: dict[str, list[str]] = {}
    for key, value in summary.items():
        stream, _, metric = key.rpartition("/")
        if stream.split("/")[0] in EVALUATED and isinstance(value, float):
            lines.setdefault(stream, []).append(f"{metric} {value:.4f}")
    return "\n".join(f"{stream}: {', '.join(figures)}" for stream, figures in lines.items())


def write_predictions(folder: pathlib.Path, collected: Mapping[str, Collected]) -> None:
    """`predictions.npz` with STREAM/index, STREAM/TASK and STREAM/outputs/TASK."""
    arrays = {
        f"{stream}/{field}": values
        for stream, table in collected.items()
        for field, values in table.items()
        if field != "features"  # many times as large
    }
    np.savez(folder / "predictions.npz", allow_pickle=False, **arrays)


def spent(experiment: train.Experiment, steps: int) -> dict[str, float]:
    """The privacy that so many steps have cost, where the config asks for some."""
    if not (how := checks.private(experiment.config, experiment.method)):
        return {}
    at = experiment.config.privacy.delta or 1e-5
    share = experiment.config.batch_size / len(experiment.dataset.splits["train"])
    return {"privacy/epsilon": privacy.epsilon(how["noise"], share, steps, at), "privacy/delta": at}


def before(work: train.Run) -> dict[str, float]:
    """The figures from before the first step, where the config asked for them."""
    first = next((row for row in work.log.rows() if row["step"] == 0), {})
    return {key: value for key, value in first.items() if key.startswith("before/")}


def about_target(work: train.Run, values: Mapping[str, float], collected: Mapping[str, Collected]) -> dict[str, float]:
    """What each rule would have chosen, and how far apart the features of the domains are."""
    found = selection.compared(work.log.rows(), values)
    source, target = (collected[name]["features"] for name in ("reference", "unlabelled"))
    if np.isfinite(source).all() and np.isfinite(target).all():
        found["target/a_distance"] = validators.proxy_distance(source, target)
    return found


def brought(experiment: train.Experiment) -> set[str]:
    """The parts that brought their weights along, teachers: no part of what is learnt."""
    return {name for name, part in experiment.method.parts.items() if part.leaves}


def exported(variables: Mapping[str, Any], experiment: train.Experiment) -> dict[str, Any]:
    """What a run leaves: the network as it runs, without its teachers."""
    left_out = brought(experiment)
    found = {kind: {n: part for n, part in parts.items() if n not in left_out} for kind, parts in variables.items()}
    return {**found, "params": adapters.merged(found["params"], experiment.config)}


def parameter_counts(state: State, optimizer: optim.Optimizer, left_out: Container[str]) -> dict[str, int]:
    """How many parameters there are and how many move, and the bytes of what the optimiser keeps of them."""
    params = {name: part for name, part in state.params.items() if name not in left_out}
    sizes = {path: int(np.size(leaf)) for path, leaf in optim.paths(params).items()}
    moved = sum(size for path, size in sizes.items() if optimizer.moves(path))
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(state.opt))
    found = {"params/total": sum(sizes.values()), "params/trained": moved, "params/optimizer_bytes": kept}
    zeros = sum(int((leaf == 0).sum()) for path, leaf in optim.paths(params).items() if path in optimizer.pinned)
    return found | ({"params/pruned": zeros} if optimizer.pinned else {})


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


def write_report(
    work: train.Run,
    summary: Mapping[str, Any],
    collected: Mapping[str, Collected],
    shown: Mapping[str, np.ndarray],
) -> pathlib.Path:
    """`report.html`; `shown` are rows of pictures."""
    experiment = work.experiment
    every = list(experiment.tasks.values())
    task = next((task for task in every if task.kind in ("classification", "binary")), every[0])
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
        of_task="" if len(every) == 1 else f" of {task.name}",
        points=both_domains(collected["reference"], collected["target"], task.name)
        if {"reference", "target"} <= collected.keys() and task.kind == "classification"
        else None,
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
