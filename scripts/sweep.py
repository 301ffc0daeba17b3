"""Search over config keys: trials by Optuna, as many at once as there are processes, and a config of the best.

    python scripts/sweep.py --config configs/finetune.py --workdir runs/sweep --trials 20
        --space schedule.lr=log:1e-4..1e-1 --space head.dropout=0..0.5 --space "optim.name=sgd|adam"
        [--select val/accuracy] [--how tpe|random|grid] [--no-prune] [--seed 0] [--config.KEY=VALUE ...]

A key takes LOW..HIGH, whole numbers or not, log:LOW..HIGH on a logarithmic scale, or one of A|B|C. Trials are compared
by what they reach on val, never on test. The same command goes on with a sweep, and with the trial that was cut off; in
further shells it takes trials beside the first. A trial that is worse than the median of the others at the same step is
stopped early, where a trial is one run. `pip install optuna` first.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts import space
from tl.errors import InputError, unknown
from tl.report.files import check_place

HOW = ("tpe", "random", "grid")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--trials", type=int, default=20, help="of the whole sweep; a grid has as many as it has cells")
    parser.add_argument("--space", action="append", default=[], metavar="KEY=VALUES", help="once for each key")
    parser.add_argument("--select", default="", help="by default the config's select, or val/accuracy")
    parser.add_argument("--how", default="tpe", help=" | ".join(HOW))
    parser.add_argument("--no-prune", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of what is tried")
    options, flags = parser.parse_known_args(argv)
    try:
        import optuna

        from tl import config
        from tl.runtime import prepare

        if options.how not in HOW:
            raise unknown("--how", options.how, HOW)
        if options.trials < 1:
            raise InputError(f"--trials {options.trials} are none: give the trials of the whole sweep, 1 or more.")
        axes = space.parse(options.space)
        shared = config.parse_flags(flags)
        metric = options.select or config.load(options.config, shared).select or "val/accuracy"
        if not metric.startswith("val/"):
            raise InputError(f"--select '{metric}' must be a figure of val, such as val/accuracy: test is for the end.")
        shared["select"] = metric
        for axis in list(axes.values()):
            for value in axis.choices or (axis.low, axis.high):  # what is misspelt, before anything runs
                found = config.load(options.config, {**shared, axis.key: value})
            # 0..1 of a rate is no choice between two numbers.
            axes[axis.key] = axis.like(functools.reduce(lambda node, name: node[name], axis.key.split("."), found))
        prepare()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = opened(options, axes, about(options, shared))
        run_trials(study, options, axes)
        return written(study, options, axes)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"error: {error}; pip install optuna first.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on.")
        return 130


def about(options: argparse.Namespace, shared: Mapping[str, Any]) -> dict[str, Any]:
    """What makes it this sweep and no other."""
    return {
        "config": options.config,
        "space": sorted(options.space),
        "flags": dict(shared),
        "how": options.how,
        "seed": options.seed,
    }


def opened(options: argparse.Namespace, axes: Mapping[str, space.Axis], told: Mapping[str, Any]) -> Any:
    """The study in the folder, a new one where there is none; InputError for one of another search."""
    import filelock
    import optuna
    from optuna.storages import journal

    from tl.metrics import lower_is_better

    tried = list(space.listed(axes, options.how, options.trials, options.seed))
    check_place(options.workdir / "locks" / "sweep", "--workdir")
    storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(options.workdir / "journal.log")))
    with filelock.FileLock(lock_of(options, "sweep")):
        study = optuna.create_study(
            storage=storage,
            study_name="sweep",
            load_if_exists=True,
            direction="minimize" if lower_is_better(told["flags"]["select"]) else "maximize",
        )
        # Also where another start was cut off amidst it, and where more trials are asked for now.
        for key in told.keys() - study.user_attrs.keys():
            study.set_user_attr(key, told[key])
        same = all(study.user_attrs[key] == json.loads(json.dumps(value)) for key, value in told.items())
        for values in tried[len(study.trials) :] if same else ():
            study.enqueue_trial(values)
    for key, value in told.items():
        if study.user_attrs[key] != json.loads(json.dumps(value)):
            raise InputError(
                f"'{options.workdir}' holds a sweep with {key}={study.user_attrs[key]!r}, not {value!r}: go on with "
                "that, or give another --workdir."
            )
    study.pruner = optuna.pruners.NopPruner() if options.no_prune else optuna.pruners.MedianPruner(n_startup_trials=4)
    return study


@contextlib.contextmanager
def taken(study: Any, options: argparse.Namespace, axes: Mapping[str, space.Axis]) -> Iterator[Any]:
    """A trial that was cut off, else a new one; None when there are as many as asked for. It is this process's own."""
    import filelock
    import optuna

    with contextlib.ExitStack() as held:
        found = None
        with filelock.FileLock(lock_of(options, "sweep")):
            trials = study.get_trials(deepcopy=False)
            for trial in (t for t in trials if t.state == optuna.trial.TrialState.RUNNING):
                lock = filelock.FileLock(lock_of(options, trial.number), blocking=False)
                with contextlib.suppress(filelock.Timeout):  # held: another process is at it
                    held.enter_context(lock)
                    found = optuna.trial.Trial(study, trial._trial_id)
                    if found.storage.get_trial(trial._trial_id).state == trial.state:  # it has not ended meanwhile
                        break
                    found = None
            done = sum(trial.state != optuna.trial.TrialState.WAITING for trial in trials)
            waiting = len(trials) - done
            if found is None and (waiting if options.how != "tpe" else done < options.trials):
                found = study.ask()
                held.enter_context(filelock.FileLock(lock_of(options, found.number), blocking=False))
            if found is not None:
                # By the trial's number, so that processes beside each other do not draw the same.
                study.sampler = optuna.samplers.TPESampler(seed=options.seed + 1000 * found.number, constant_liar=True)
                for axis in axes.values():
                    axis.suggest(found)
        yield found


def lock_of(options: argparse.Namespace, number: int | str) -> str:
    return str(options.workdir / "locks" / str(number))


def run_trials(study: Any, options: argparse.Namespace, axes: Mapping[str, space.Axis]) -> None:
    """Trial after trial, until there are as many as asked for."""
    import optuna

    from tl import build, config, train

    shared = study.user_attrs["flags"]
    metric = shared["select"]
    while True:
        with taken(study, options, axes) as trial:
            if trial is None:
                return
            folder = options.workdir / f"trial{trial.number}"
            values = {key: axis.suggest(trial) for key, axis in axes.items()}
            said = ", ".join(f"{key}={space.shown(value)}" for key, value in values.items())

            def watch(row: Mapping[str, float], trial: Any = trial) -> None:
                if metric in row:
                    trial.report(row[metric], int(row["step"]))
                    if trial.should_prune():
                        raise optuna.TrialPruned(f"at step {row['step']:.0f}")

            began = time.perf_counter()
            state, value = optuna.trial.TrialState.COMPLETE, None
            try:
                chosen = config.load(options.config, {**shared, **values})
                found = float(build.run(chosen, folder, quiet=True, watch=watch)[metric])
                if not math.isfinite(found):
                    raise train.Diverged(f"{metric} is {found}")
                value, ended = found, f"{metric} {found:.4f}"
            except optuna.TrialPruned as stop:
                state, ended = optuna.trial.TrialState.PRUNED, f"stopped {stop}: worse than the median"
            except InputError as error:
                if not any(found.state.is_finished() for found in study.get_trials(deepcopy=False)):
                    # Most likely it holds for all of them: the trial stays open, for when that is mended.
                    raise InputError(f"trial 0, {said}: {error}") from error
                state, ended = optuna.trial.TrialState.FAIL, f"failed: {error}"
            except Exception as error:  # such as too little memory: the sweep goes on, and never comes back to it
                state, ended = optuna.trial.TrialState.FAIL, "failed: "
                ended += str(error) if isinstance(error, train.Diverged) else repr(error)
            trial.set_user_attr("ended", ended)
            trial.set_user_attr("seconds", round(time.perf_counter() - began, 1))
            study.tell(trial, value, state=state)
            print(f"[{trial.number + 1}] {said}: {ended}, {time.perf_counter() - began:.0f} s", flush=True)


def written(study: Any, options: argparse.Namespace, axes: Mapping[str, space.Axis]) -> int:
    """The table, the page and the config of the best; 1 where no trial has a figure."""
    import optuna

    from tl.report import html, provenance, table
    from tl.report.files import write_atomic

    metric, trials = study.user_attrs["flags"]["select"], study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if not complete:
        ends = {trial.number: trial.user_attrs.get("ended", trial.state.name.lower()) for trial in trials}
        print("no trial came to its end:", *(f"[{n + 1}] {why}" for n, why in ends.items()), sep="\n", file=sys.stderr)
        return 1
    best = study.best_trial
    chosen = {key: axes[key].meant(kept) for key, kept in best.params.items()}
    sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
    ranked = sorted(complete, key=lambda trial: sign * trial.value) + [t for t in trials if t not in complete]
    importance = {}
    if len({trial.value for trial in complete}) > 1 and len(complete) > 3:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=options.seed)
        importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
    rows = [
        {
            "trial": trial.number,
            "params": trial.params,
            "value": trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None,
            "ended": trial.user_attrs.get("ended", trial.state.name.lower()),
            "seconds": trial.user_attrs.get("seconds"),
        }
        for trial in ranked
    ]
    write_atomic(options.workdir / "best.py", space.config_file(options.config, study.user_attrs["flags"], chosen))
    write_atomic(options.workdir / "sweep.json", json.dumps({**study.user_attrs, "trials": rows}, indent=1))
    command = f"python main.py --config {options.workdir / 'best.py'}"
    page = html.write_sweep(
        options.workdir,
        title=options.workdir.name,
        metric=metric,
        trials=rows,
        importance=importance,
        command=provenance.command(),
        best=command,
    )
    table.print_table(
        f"by {metric}",
        ["trial", metric, *best.params, "ended"],
        [[row["trial"], row["value"], *row["params"].values(), row["ended"]] for row in rows[:10] if row["params"]],
    )
    print(f"report: {page}\nthe best: {command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
