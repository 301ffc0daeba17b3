"""Runs as Weights & Biases and MLflow keep them, beside `metrics.jsonl` and TensorBoard; both are extras.

Where to is said in their own variables: WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, ...
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import pathlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from tl.errors import InputError, unknown
from tl.report.files import plain, write_atomic
from tl.report.sections import flat

IDS = "tracking.json"  # of a run's folder: {tracker: the id under which it keeps this run}
Number = int | float


class Tracker(Protocol):
    """Keeps one run, `id`."""

    id: str

    def row(self, step: int, values: Mapping[str, Number]) -> None: ...

    def finish(self, summary: Mapping[str, Any], page: pathlib.Path) -> None:
        """The flat summary and, where it was written, the run's page."""

    def close(self, failed: bool) -> None: ...


def asked(tracking: str) -> list[str]:
    """The trackers that config.tracking names; InputError for one that is not known or not installed."""
    names = [name for name in tracking.split("+") if name]
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker in config.tracking", name, TRACKERS)
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"config.tracking='{tracking}' needs the package {name}, which is not installed: pip install "
                f"-e '.[{name}]', or leave config.tracking empty."
            )
    return names


def opened(tracking: str, folder: pathlib.Path, config: Mapping[str, Any]) -> list[Tracker]:
    """A run of each tracker for the one in `folder`: a new one, or that which an earlier start made."""
    path = folder / IDS
    ids = json.loads(path.read_text()) if path.is_file() else {}
    found: list[Tracker] = []
    for name in asked(tracking):
        found.append(TRACKERS[name](folder, config, ids.get(name)))
        ids[name] = found[-1].id
        write_atomic(path, json.dumps(ids))
    return found


class WandB:
    """Its files lie in the run's folder."""

    def __init__(self, folder: pathlib.Path, config: Mapping[str, Any], known: str | None) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self._wandb = wandb
        how = {"id": known, "resume": "allow", "allow_val_change": True} if known else {}
        try:
            self._run = wandb.init(dir=str(folder), name=str(folder), config=plain(config), **how)
        except wandb.Error as error:
            raise InputError(
                f"config.tracking: wandb began no run ({error}): log in by `wandb login`, or set WANDB_MODE=offline."
            ) from error
        self.id = self._run.id
        # Steps of its own only grow: rows behind the checkpoint that a run goes on from would be lost.
        self._run.define_metric("*", step_metric="step")

    def row(self, step: int, values: Mapping[str, Number]) -> None:
        self._run.log({**values, "step": step})

    def finish(self, summary: Mapping[str, Any], page: pathlib.Path) -> None:
        self._run.summary.update(plain(dict(summary)))
        if page.is_file():
            artifact = self._wandb.Artifact(f"report-{self.id}", type="report")
            artifact.add_file(str(page))
            self._run.log_artifact(artifact)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflow:
    """Through its client, which knows no current run. What a server does not take is told and left out."""

    def __init__(self, folder: pathlib.Path, config: Mapping[str, Any], known: str | None) -> None:
        import mlflow  # pyright: ignore[reportMissingImports]

        self._mlflow, self._client = mlflow, mlflow.MlflowClient()
        try:
            self.id = known or self._begun(str(folder), flat(config))
            self._client.update_run(self.id, status="RUNNING")
        except mlflow.exceptions.MlflowException as error:
            raise InputError(
                f"config.tracking: mlflow began no run ({error}): set MLFLOW_TRACKING_URI to a server or a store that "
                "can be written to."
            ) from error

    def _begun(self, name: str, params: Mapping[str, str]) -> str:
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
        experiment = self._client.get_experiment_by_name(title)
        number = experiment.experiment_id if experiment else self._client.create_experiment(title)
        made = self._client.create_run(number, run_name=name).info.run_id
        entities = self._mlflow.entities
        for some in _parts([entities.Param(_key(key), value[:500]) for key, value in params.items()]):
            self._client.log_batch(made, params=some)
        return made

    def _send(self, step: int, values: Mapping[str, Any]) -> None:
        entities, now = self._mlflow.entities, int(1000 * time.time())
        numbers = {key: value for key, value in values.items() if isinstance(value, int | float)}
        with self._told(f"step {step}"):
            for some in _parts([entities.Metric(_key(key), float(v), now, step) for key, v in numbers.items()]):
                self._client.log_batch(self.id, metrics=some)
            for key in values.keys() - numbers.keys():
                self._client.set_tag(self.id, _key(key), str(values[key]))

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            logging.getLogger(__name__).warning("mlflow did not take %s: %s", what, error)

    def row(self, step: int, values: Mapping[str, Number]) -> None:
        self._send(step, values)

    def finish(self, summary: Mapping[str, Any], page: pathlib.Path) -> None:
        self._send(int(summary.get("steps", 0)), plain(dict(summary)))
        if page.is_file():
            with self._told("the page"):
                self._client.log_artifact(self.id, str(page))

    def close(self, failed: bool) -> None:
        with self._told("the end"):
            self._client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


def _parts(items: Sequence[Any], most: int = 100) -> Iterator[Sequence[Any]]:
    """A batch of MLflow's holds at most a hundred parameters."""
    return (items[i : i + most] for i in range(0, len(items), most))


def _key(name: str) -> str:
    """A name as MLflow takes it."""
    return re.sub(r"[^\w\-. :/]", "_", name)


TRACKERS = {"wandb": WandB, "mlflow": MLflow}
