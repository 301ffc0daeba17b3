"""One training run, from an experiment to a folder: the only loop there is, and it names no method."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from tl import averages, begin, checks, frozen, hosts, moved, online, optim, views, weights, workdir
from tl import mesh as meshes
from tl.advance import Advance, in_bursts, one_by_one
from tl.checkpoint import Checkpoints
from tl.config import Config
from tl.data import streams as data_streams
from tl.data.base import Dataset
from tl.data.order import Order, endless
from tl.evaluators import class_report
from tl.evaluators.collect import Collected, asked, collect, fields_of
from tl.evaluators.figures import figures
from tl.evaluators.transferability import transferability
from tl.inputs import AT_THE_END
from tl.methods.base import Method
from tl.net import Net
from tl.preprocess import Preprocess
from tl.report import tracking
from tl.report.console import Progress
from tl.report.log import Log
from tl.step import State, make_step
from tl.tasks import Task
from tl.text import Text
from tl.watch import Clock, Interrupts, Patience


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that `build` makes of a config. `weights` are the flat leaves that were loaded for `modules`."""

    config: Config
    tasks: Mapping[str, Task]
    method: Method
    modules: Mapping[str, Any]
    preprocess: Mapping[str, Preprocess | Text]
    weights: Callable[[Mapping[str, Any]], Mapping[str, Any]]  # shapes of all leaves -> the leaves that are loaded
    streams: Mapping[str, Any]
    evals: Mapping[str, data_streams.EvalBatches]  # "val", "test", ...
    passes: Mapping[str, data_streams.EvalBatches]  # each training stream once, in order, as evaluation sees it
    views: Mapping[str, data_streams.EvalBatches]  # its random views one after the other, where they are to be kept
    dataset: Dataset
    mesh: jax.sharding.Mesh
    steps: int
    steps_per_epoch: int
    eval_every: int
    meta: Mapping[str, str]  # what the weights file says of itself
    orders: Mapping[str, Order]  # of streams that are visited in another order than that of shuffled epochs
    together: int  # so many rows of an evaluation set are predicted together
    loaded: weights.Loaded | None  # what config.weights names


Watch = Callable[[Mapping[str, float]], None]


class Stopped(KeyboardInterrupt):
    """The run was interrupted; its state is saved. No failure of this run alone: what runs many of them stops too."""


class Diverged(Exception):
    """A scalar is no longer finite."""


@dataclasses.dataclass
class Run:
    """A run at work: what the loop hands around."""

    experiment: Experiment
    folder: pathlib.Path
    state: State
    optimizer: optim.Optimizer
    own_stats: Callable[[str], bool]
    bind: Callable[..., Net]  # in evaluation
    predict: Callable[[State, Mapping[str, jax.Array]], Mapping[str, jax.Array]]
    log: Log
    checkpoints: Checkpoints
    progress: Progress
    feeds: frozen.Feeds
    began: Mapping[str, np.ndarray]  # what moves, as it was at step 0
    spent: workdir.Spent
    _ready: tuple[State, Any] | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        # A process that fails alone must not wait here for the others' part of a checkpoint: they wait elsewhere.
        if kind is None or jax.process_count() == 1:
            self.checkpoints.close()
        self.log.close(failed=kind is not None)
        self.spent.keep()

    def memory(self) -> Any:
        """What an evaluation gets as memory, made once of a state: it may take a pass over the data."""
        state, ready = self.state, self.experiment.method.ready
        if ready is None:
            return state.memory
        if self._ready is None or self._ready[0] is not state:
            self._ready = (state, ready(self.bind(**state.variables), state.memory, self.experiment.passes))
        return self._ready[1]

    def evaluate(
        self, names: Iterable[str], *, untouched: bool = False
    ) -> tuple[dict[str, float], dict[str, Collected]]:
        """What `figures` says of the sets in `names`, and what was collected of them.

        A method that learns from them answers as it does, unless the network is to be left `untouched`.
        """
        if self.experiment.method.online and not untouched:
            collected = online.answers(self.experiment, self.state, self.optimizer, self.own_stats, names)
        else:
            predict = partial(self.predict, dataclasses.replace(self.state, memory=self.memory()))
            collected = {name: asked(collect(predict, self.feeds.evals[name])) for name in names}
        return figures(collected, self.experiment.tasks), collected


def start(experiment: Experiment, folder: pathlib.Path, *, quiet: bool = False) -> Run:
    """Build the state, or restore the latest one in `folder`; to be used in a `with`."""
    spent = workdir.Spent("start")
    try:
        return _started(experiment, folder, spent, quiet=quiet)
    except BaseException:
        spent.keep()
        raise


def _started(experiment: Experiment, folder: pathlib.Path, spent: workdir.Spent, *, quiet: bool) -> Run:
    state, optimizer = begin.init(experiment)
    began = moved.copies(state.params, optimizer)
    own_stats = begin.statistics_policy(optimizer, experiment.config.frozen_stats)
    if checks.private(experiment.config, experiment.method):
        checks.no_batch_statistics(state.stats, own_stats)
    if experiment.config.get("domain_norm", False):
        checks.some_batch_statistics(state.stats, own_stats)
    workdir.claim(folder, experiment.config)  # only now: nothing is written for a config that cannot run
    spent.open(folder)
    first = jax.process_index() == 0
    kept_by, as_dict = experiment.config.get("tracking", ""), experiment.config.to_dict()
    trackers = tracking.opened(kept_by, folder, as_dict) if first else ()
    checkpoints = Checkpoints(folder / "checkpoints")
    resume = checkpoints.latest
    progress = Progress(experiment.steps, resume or 0, experiment.steps_per_epoch, str(folder), quiet=quiet)
    if resume is not None:
        state = checkpoints.restore(state, resume)
        progress.message(f"resumed from step {resume}")
    bind = begin.binder(experiment, lambda path: False)
    target, together = bool(experiment.dataset.target), experiment.together
    predict = views.averaged(experiment.method.predict, experiment.config.get("eval_views", ()))
    fields = partial(fields_of, predict, target, experiment.mesh, together)
    predict = jax.jit(lambda variables, memory, batch: fields(bind(**variables), memory, batch))
    feeds = frozen.feeds(experiment, state, optimizer, own_stats, bind, progress.message)
    return Run(
        experiment,
        folder,
        state,
        optimizer,
        own_stats,
        bind,
        lambda s, batch: predict(s.variables, s.memory, batch),
        Log(folder, resume_step=resume, write=first, trackers=trackers),
        checkpoints,
        progress,
        feeds,
        began,
        spent,
    )


def step_of(experiment: Experiment, optimizer: optim.Optimizer, own_stats: Callable[[str], bool]) -> Callable[..., Any]:
    """The step that the config asks for, for the caller to jit."""
    config = experiment.config
    settings: dict[str, Any] = {"steps": experiment.steps, "seed": config.seed, "accumulate": config.accumulate}
    settings["average"] = averages.rate(config, experiment.eval_every, experiment.steps)
    settings["private"] = checks.private(experiment.config, experiment.method)
    return make_step(begin.binder(experiment, own_stats), experiment.method, optimizer, **settings)


def advancing(work: Run, begin: int) -> Advance:
    """How this run's steps are taken, from step `begin` on."""
    experiment, config, feeds = work.experiment, work.experiment.config, work.feeds
    step = step_of(experiment, work.optimizer, work.own_stats)
    if feeds.rows:
        orders = {
            stream: experiment.orders.get(stream)
            or endless(
                len(rows["index"]) // feeds.views, config.seed, stream, views=feeds.views, domain=rows.get("domain")
            )
            for stream, rows in feeds.rows.items()
        }
        return in_bursts(step, work.state, feeds.rows, orders, config.batch_size, experiment.mesh)
    return one_by_one(step, work.state, iter(data_streams.batches(feeds.streams, experiment.mesh, begin)))


def run(work: Run, watch: Watch | None = None) -> dict[str, float]:
    """Train to the last step, or until early stopping -> timings. The latest and the best state are saved.

    `watch` is given the figures of each evaluation, and `step`.
    """
    experiment, config, total = work.experiment, work.experiment.config, work.experiment.steps
    step = begin = int(work.state.step)
    patience = Patience(config.select, config.patience, work.log.rows())
    clock = Clock(config.batch_size)
    pending: list[tuple[int, dict[str, jax.Array]]] = []
    advance = advancing(work, begin)
    if begin == 0 and not work.log.rows() and (values := before(work)):
        work.log.row(0, {f"before/{name}": value for name, value in values.items()})
    with work.progress, Interrupts() as interrupts:
        while step < total and not patience.over:
            # A burst of steps ends where something else is due.
            until = min(total, *((step // every + 1) * every for every in (experiment.eval_every, config.save_every)))
            first = step + 1
            work.state, step, scalars = advance(work.state, step, until)
            pending.append((first, scalars))
            last = step == total
            # Asked once: a wish that came between two questions would stop without a save.
            stop = not last and (interrupts.stop or hosts.stop_agreed())
            evaluates = last or step % experiment.eval_every == 0
            saves = last or step % config.save_every == 0 or stop
            if evaluates or saves or step // config.log_every > (first - 1) // config.log_every:
                # While the newest step runs the one before is read; at an evaluation or a save all must be known good.
                record(work, pending, keep=0 if evaluates or saves else 1, clock=clock)
            clock.tick(scalars, step + 1 - first)
            if evaluates:
                values, tables = work.evaluate([name for name in experiment.evals if name not in AT_THE_END])
                work.log.row(step, values)
                check_finite(work, step, {k: v for k, v in values.items() if k.endswith("/loss")})
                if averages.swad(config):
                    averages.keep(work.folder, step, meshes.gather(optim.paths(work.state.variables)))
                if config.class_report and jax.process_index() == 0:
                    class_report.write(work.folder, step, tables, experiment.tasks)
                work.progress.update(step, values, clock.rate)
                patience.see({**values, "step": step})
                if watch:
                    watch({**values, "step": step})
            if saves or step in patience.choice.steps or patience.over:
                work.checkpoints.save(step, work.state, keep=patience.choice.steps)
                work.spent.keep()
            if evaluates or saves:
                clock.resume()
            if stop:
                work.checkpoints.wait()
                raise Stopped(f"stopped at step {step} of {total}, saved: run the same command again to go on.")
    work.checkpoints.wait()
    return {"time/images_per_s": clock.rate}


def before(work: Run) -> dict[str, float]:
    """What the config asks to know of the untouched network."""
    experiment, values = work.experiment, {}
    if experiment.config.evaluate_before:
        names = [name for name in ("test", "target", "earlier") if name in work.feeds.evals]
        values, _ = work.evaluate(names, untouched=True)
    if experiment.config.get("transferability", False):
        table = begin.pooled(experiment, work.bind, work.state.variables)
        flat = experiment.loaded.flat if experiment.loaded else {}
        values |= transferability(table["pooled"], table, experiment.tasks, flat)
    return values


def record(work: Run, pending: list[tuple[int, dict[str, jax.Array]]], *, keep: int, clock: Clock) -> None:
    """Fetch, check and log the scalars of finished steps: (the first step, () or (K,) values) each."""
    ready = pending[: len(pending) - keep]
    del pending[: len(ready)]
    for first, scalars in ready:
        columns = {f"train/{name}": np.atleast_1d(value) for name, value in jax.device_get(scalars).items()}
        for step, row in enumerate(zip(*columns.values(), strict=True), start=first):
            values = dict(zip(columns, map(float, row), strict=True))
            check_finite(work, step, values)
            if step % work.experiment.config.log_every == 0 or step == work.experiment.steps:
                work.log.row(step, values)
                work.progress.update(step, values, clock.rate)


def check_finite(work: Run, step: int, values: Mapping[str, float]) -> None:
    """A number that is not finite ends the run, before anything is saved over the last good checkpoint."""
    bad = next((name for name, value in values.items() if not math.isfinite(value)), None)
    if bad is None:
        return
    work.checkpoints.wait()
    kept = work.checkpoints.latest
    where = "no checkpoint was written yet" if kept is None else f"the checkpoint of step {kept} is kept"
    raise Diverged(f"{bad} is {values[bad]} at step {step}: {where}; lower schedule.lr or set optim.clip.")
