"""From a trained state to what a run leaves behind: weights, test figures, a summary and a report."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import resource
import sys
from collections.abc import Callable, Container, Mapping
from typing import Any

import jax
import numpy as np

from tl import adapters, averages, checks, optim, pages, privacy, selection, train, weights, workdir
from tl import mesh as meshes
from tl.evaluators import validators
from tl.evaluators.collect import Collected
from tl.report import provenance
from tl.report.files import plain, write_atomic
from tl.step import State
from tl.watch import Choice

EVALUATED = ("before", "source", "val", "test", "target", "earlier")  # what figures are printed of


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
    with train.start(experiment, folder, quiet=quiet) as work:
        work.spent.enter("train")
        timing = train.run(work, watch)
        work.spent.enter("end")
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
        shown = pages.pictures(work) if report else {}
        seen = pages.features(work) if report else {}
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
            **memory_taken(work.state),
            "seed": experiment.config.seed,
            "commit": provenance.commit(),
            **{f"version/{name}": version for name, version in provenance.versions().items()},
            **times(work.spent),
        }
        if jax.process_index() == 0:
            weights.write(folder / "weights.safetensors", optim.paths(variables) | kept, dict(experiment.meta))
            write_predictions(folder, collected)
            if report:
                pages.write(work, summary, collected, shown, seen)
            # Last: the summary is the sign that the run is finished.
            write_atomic(folder / "summary.json", json.dumps(plain(summary), indent=1))
            averages.clear(folder)
            work.progress.message(f"{results(summary)}" + (f"\nreport: {folder / 'report.html'}" if report else ""))
            work.log.finish(summary)
    return summary


def times(spent: workdir.Spent) -> dict[str, float]:
    """Seconds until the first step, in training, in all; of every start of the run together."""
    phases = {f"time/{phase}_s": round(spent.seconds.get(phase, 0.0), 3) for phase in ("start", "train")}
    return {**phases, "time/wall_s": spent.total()}


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


def memory_taken(state: State) -> dict[str, int]:
    """Bytes: of the state, and the most that the process, and a device where it tells, have held since they began."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {
        "memory/state_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
        "memory/process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }
    peaks = [held["peak_bytes_in_use"] for device in jax.local_devices() if (held := device.memory_stats())]
    return found | ({"memory/device_peak_bytes": max(peaks)} if peaks else {})


def parameter_counts(state: State, optimizer: optim.Optimizer, left_out: Container[str]) -> dict[str, int]:
    """How many parameters there are and how many move, and the bytes of what the optimiser keeps of them."""
    params = {name: part for name, part in state.params.items() if name not in left_out}
    sizes = {path: int(np.size(leaf)) for path, leaf in optim.paths(params).items()}
    moved = sum(size for path, size in sizes.items() if optimizer.moves(path))
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(state.opt))
    found = {"params/total": sum(sizes.values()), "params/trained": moved, "params/optimizer_bytes": kept}
    zeros = sum(int((leaf == 0).sum()) for path, leaf in optim.paths(params).items() if path in optimizer.pinned)
    return found | ({"params/pruned": zeros} if optimizer.pinned else {})
