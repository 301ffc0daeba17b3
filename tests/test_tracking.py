"""Trackers beside a run's own files: what they are told, by stand-ins and, where they are installed, by themselves."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import sys
import types
from typing import Any

import pytest
import toy

from tl import build, train
from tl.errors import InputError
from tl.report import tracking
from tl.report.log import Log

TINY = {**toy.LENET, "data": "noise:8,3,60", "labels_per_class": 0, "select": "val/loss"}


class WandB(types.ModuleType):
    """What of wandb is called, and what it was told; every `init` is a run of its own here."""

    Error = type("Error", (Exception,), {})

    def __init__(self, refuse: str = "") -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.runs: list[Any] = []
        self.refuse = refuse

    def init(self, **how):
        if self.refuse:
            raise self.Error(self.refuse)
        self.runs.append(run := types.SimpleNamespace(id=how.get("id", "a1"), how=how, rows=[], summary={}, files=[]))
        run.define_metric = lambda name, step_metric: setattr(run, "metric", (name, step_metric))
        run.log, run.log_artifact = run.rows.append, run.files.append
        run.finish = lambda exit_code: setattr(run, "code", exit_code)
        return run

    class Artifact:
        def __init__(self, name, type):
            self.name, self.type, self.paths = name, type, []

        def add_file(self, path):
            self.paths.append(path)


class MLflow(types.ModuleType):
    """What of mlflow is called: the client's calls in order."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = importlib.machinery.ModuleSpec("mlflow", None)
        self.calls: list[tuple[str, tuple, dict]] = []
        self.failing = False
        self.exceptions = types.SimpleNamespace(MlflowException=type("MlflowException", (Exception,), {}))
        self.entities = types.SimpleNamespace(Param=lambda *of: of, Metric=lambda *of: of)

    def MlflowClient(self):  # noqa: N802
        def called(name):
            def call(*arguments, **named):
                if self.failing:
                    raise self.exceptions.MlflowException("no server")
                self.calls.append((name, arguments, named))
                return {
                    "get_experiment_by_name": None,
                    "create_experiment": "7",
                    "create_run": types.SimpleNamespace(info=types.SimpleNamespace(run_id="b2")),
                }.get(name)

            return call

        return type("Client", (), {"__getattr__": lambda _, name: called(name)})()

    def of(self, name):
        return [(arguments, named) for called, arguments, named in self.calls if called == name]


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", stub := WandB())
    return stub


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", stub := MLflow())
    return stub


def test_what_wandb_is_told(wandb, tmp_path):
    (tmp_path / "report.html").write_text("<p>")
    with Log(tmp_path, trackers=tracking.opened("wandb", tmp_path, {"seed": 3})) as log:
        log.row(5, {"train/loss": 1.5, "note": "text"})
        log.finish({"test/accuracy": 0.5, "commit": "abc", "bad": float("nan")})
    (run,) = wandb.runs
    assert run.how == {"dir": str(tmp_path), "name": str(tmp_path), "config": {"seed": 3}}
    assert run.metric == ("*", "step")
    assert run.rows == [{"train/loss": 1.5, "step": 5}]
    assert run.summary == {"test/accuracy": 0.5, "commit": "abc", "bad": None}
    assert [(item.name, item.paths) for item in run.files] == [("report-a1", [str(tmp_path / "report.html")])]
    assert run.code == 0
    with pytest.raises(ZeroDivisionError), Log(tmp_path, trackers=tracking.opened("wandb", tmp_path, {})):
        _ = 1 / 0
    assert (wandb.runs[1].how["id"], wandb.runs[1].how["resume"], wandb.runs[1].code) == ("a1", "allow", 1)


def test_what_mlflow_is_told(mlflow, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "digits")
    config = {"a": {f"k{i}": i for i in range(150)}, "groups": ((".*", {}),)}
    (tmp_path / "report.html").write_text("<p>")
    with Log(tmp_path, trackers=tracking.opened("mlflow", tmp_path, config)) as log:
        log.row(5, {"train/loss (first)": 1.5, "train/lr": 1})
        log.finish({"test/accuracy": 0.5, "commit": "abc", "bad": float("nan"), "steps": 9})
        mlflow.failing = True
        log.row(6, {"train/loss": 1.0})
        log.finish({"steps": 9})
        mlflow.failing = False
    for what in ("step 6", "step 9", "the page"):
        assert f"mlflow did not take {what}: no server" in caplog.text
    assert mlflow.of("create_experiment") == [(("digits",), {})]
    assert mlflow.of("create_run") == [(("7",), {"run_name": str(tmp_path)})]
    params, rows, ends = [], [], []
    for (run,), named in mlflow.of("log_batch"):
        assert run == "b2"
        assert len(named.get("params", ())) <= 100
        params += named.get("params", ())
        if "metrics" in named:
            (rows if named["metrics"][0][3] == 5 else ends).extend(named["metrics"])
    assert len(params) == 151
    assert ("a.k149", "149") in params
    assert ("groups", '[[".*", {}]]') in params
    assert [(name, value) for name, value, *_ in rows] == [("train/loss _first_", 1.5), ("train/lr", 1.0)]
    assert [(name, value, step) for name, value, _, step in ends] == [("test/accuracy", 0.5, 9), ("steps", 9.0, 9)]
    assert (("b2", "commit", "abc"), {}) in mlflow.of("set_tag")
    assert mlflow.of("log_artifact") == [(("b2", str(tmp_path / "report.html")), {})]
    assert mlflow.of("set_terminated") == [(("b2", "FINISHED"), {})]
    # A server that is gone is no reason to lose what stopped the run.
    last = tracking.opened("mlflow", tmp_path, {})
    mlflow.failing = True
    with pytest.raises(KeyboardInterrupt), Log(tmp_path, trackers=last):
        raise KeyboardInterrupt
    assert "mlflow did not take the end: no server" in caplog.text


def stopped(chosen, folder, monkeypatch):
    """A run that ends in its sixth step, behind its save of the fourth."""
    record = train.record

    def recorded(work, *rest, **named):
        record(work, *rest, **named)
        if int(work.state.step) == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "record", recorded)
        with pytest.raises(KeyboardInterrupt):
            build.run(chosen, folder, quiet=True)


def test_a_run_that_goes_on_is_the_same_to_both(wandb, mlflow, tmp_path, monkeypatch):
    chosen, folder = toy.toy_config(**TINY, tracking="wandb+mlflow"), tmp_path / "w"
    stopped(chosen, folder, monkeypatch)
    assert json.loads((folder / "tracking.json").read_text()) == {"wandb": "a1", "mlflow": "b2"}
    summary = build.run(chosen, folder, quiet=True)
    first, second = wandb.runs
    assert (first.code, second.code) == (1, 0)
    assert (second.how["id"], second.how["resume"]) == ("a1", "allow")
    assert second.summary["test/accuracy"] == summary["test/accuracy"]
    assert second.files[0].paths == [str(folder / "report.html")]
    assert max(row["step"] for row in first.rows) > min(row["step"] for row in second.rows)  # those behind the save
    told = {row["step"] for row in first.rows + second.rows}
    assert told == {json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()}
    assert len(mlflow.of("create_run")) == 1
    assert [arguments[1] for arguments, _ in mlflow.of("set_terminated")] == ["FAILED", "FINISHED"]
    assert build.run(chosen, folder, quiet=True) == json.loads((folder / "summary.json").read_text())
    assert len(wandb.runs) == 2  # a finished run is not opened again


def test_who_is_told_nothing(wandb, tmp_path, monkeypatch):
    monkeypatch.setattr(train.jax, "process_index", lambda: 1)
    experiment = build.experiment(toy.toy_config(**TINY, tracking="wandb"))
    monkeypatch.setattr(train.workdir, "claim", lambda folder, config: None)
    with train.start(experiment, tmp_path / "w", quiet=True) as work:
        work.log.row(1, {"train/loss": 1.0})
    assert not wandb.runs


def test_clear_errors_before_anything_is_written(wandb, tmp_path, monkeypatch):
    def run(tracker):
        build.run(toy.toy_config(**TINY, tracking=tracker, seeds=(0, 1)), tmp_path / "w", quiet=True)

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else find(name))
    with pytest.raises(
        InputError, match=re.escape("the package mlflow, which is not installed: pip install -e '.[mlflow]'")
    ):
        run("wandb+mlflow")
    with pytest.raises(InputError, match=r"unknown tracker in config\.tracking 'wanbd': did you mean wandb"):
        run("wanbd")
    assert not (tmp_path / "w").exists()
    wandb.refuse = "no key"
    with pytest.raises(InputError, match=r"wandb began no run \(no key\): log in by `wandb login`"):
        run("wandb")


def real(name):
    """A skip that says so where a package is not installed."""
    return pytest.importorskip(name, reason=f"{name} is not installed: the run was not kept by the real one")


@pytest.mark.filterwarnings("default")
def test_the_real_wandb_offline(tmp_path, monkeypatch):
    real("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    chosen, folder = toy.toy_config(**TINY, tracking="wandb"), tmp_path / "w"
    stopped(chosen, folder, monkeypatch)
    build.run(chosen, folder, quiet=True)
    own = json.loads((folder / "tracking.json").read_text())["wandb"]
    kept = sorted((folder / "wandb").glob(f"offline-run-*-{own}"))
    assert len(kept) == 2  # of one run: `wandb sync` puts them together
    written = b"".join(path.read_bytes() for path in (folder / "wandb").rglob(f"run-{own}.wandb"))
    for text in (b"val/accuracy", b"batch_size", b"test/accuracy", b"report.html"):
        assert text in written, text


@pytest.mark.filterwarnings("default")
def test_the_real_mlflow_in_a_file(tmp_path, monkeypatch):
    client = real("mlflow").MlflowClient
    real("sqlalchemy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "toys")
    chosen, folder = toy.toy_config(**TINY, tracking="mlflow"), tmp_path / "w"
    monkeypatch.chdir(tmp_path)  # where its files are put by default
    stopped(chosen, folder, monkeypatch)
    experiment = client().get_experiment_by_name("toys").experiment_id
    (run,) = client().search_runs([experiment])
    assert run.info.status == "FAILED"
    summary = build.run(chosen, folder, quiet=True)
    (run,) = client().search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/accuracy"] == pytest.approx(summary["test/accuracy"])
    assert run.data.params["batch_size"] == "16"
    assert run.data.tags["version/jax"] == summary["version/jax"]
    steps = {metric.step for metric in client().get_metric_history(run.info.run_id, "train/loss")}
    assert steps == set(range(1, 7))
    (page,) = client().list_artifacts(run.info.run_id)
    assert page.path == "report.html"
    assert os.path.getsize(folder / "report.html") == page.file_size
