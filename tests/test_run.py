"""Whole runs: what a folder holds, exact resume, selection, stages, sets, ensembles, prediction."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import toy

from tl import begin, build, config, inputs, predictor, train
from tl.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    """A finished toy run of six steps."""
    folder = tmp_path_factory.mktemp("run") / "w"
    build.run(toy.toy_config(select="val/loss", class_report=True, evaluate_before=True), folder, quiet=True)
    return folder


def rows(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_is_promised(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for key in ("val/accuracy", "test/accuracy", "test/top5", "test/ece", "before/test/accuracy", "params/sha256"):
        assert key in summary
    assert {"seed", "commit", "time/wall_s", "time/images_per_s", "version/jax"} <= summary.keys()
    assert all(not isinstance(value, dict | list) for value in summary.values())
    for name in ("config.json", "weights.safetensors", "report.html", "predictions.npz", "checkpoints"):
        assert (finished / name).exists(), name
    assert list((finished / "tb").iterdir())
    report = json.loads((finished / "class_report" / "val-00000003.json").read_text())
    assert np.sum(report["confusion"]) == 90
    assert len(report["classes"]) == 10


def test_rows_hold_steps_and_the_best_one_is_selected(finished):
    evaluations = {row["step"]: row["val/loss"] for row in rows(finished) if "val/loss" in row}
    assert list(evaluations) == [3, 6]
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["selected/step"] == min(evaluations, key=lambda step: evaluations[step])
    assert summary["val/loss"] == pytest.approx(evaluations[summary["selected/step"]], rel=1e-5)
    assert not any("test/" in key and not key.startswith("before/") for row in rows(finished) for key in row)


def test_a_finished_run_is_not_run_again(finished, capsys):
    before = (finished / "metrics.jsonl").read_bytes()
    held = config.from_json((finished / "config.json").read_text())
    summary = build.run(held, finished)
    assert "finished" in capsys.readouterr().out
    assert summary == json.loads((finished / "summary.json").read_text())
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_a_workdir_of_another_config_is_refused(finished):
    from tl.errors import InputError

    with pytest.raises(InputError, match=r"another config .*differs in seed.*--workdir"):
        build.run(toy.toy_config(select="val/loss", class_report=True, evaluate_before=True, seed=1), finished)


def test_early_stopping_keeps_the_best(tmp_path):
    """At rate 0 no evaluation after the first is better: it stops after two more and selects the first."""
    chosen = toy.toy_config(
        schedule__lr=0.0, frozen_stats="all", steps=40, eval_every=2, select="val/accuracy", patience=2
    )
    summary = build.run(chosen, tmp_path / "w", quiet=True)
    assert (summary["selected/step"], summary["steps"]) == (2, 6)


def test_stopped_run_goes_on_to_the_same_bits(finished, tmp_path, monkeypatch, capsys):
    """Interrupted after step 4, and again the same command: weights, rows and summary as if nothing had happened."""
    chosen = toy.toy_config(select="val/loss", class_report=True, evaluate_before=True)
    folder = tmp_path / "w"
    interrupts = train.Interrupts.__enter__

    def interrupted(self):
        interrupts(self)
        seen = iter([False] * 3 + [True] * 99)
        patch.setattr(type(self), "stop", property(lambda _: next(seen)), raising=False)
        return self

    with monkeypatch.context() as patch:
        patch.setattr(train.Interrupts, "__enter__", interrupted)
        with pytest.raises(train.Stopped, match="run the same command again"):
            build.run(chosen, folder, quiet=True)
    cut = len(rows(folder))
    build.run(chosen, folder)
    assert "resumed from step " in capsys.readouterr().out
    left, right = toy.leaves_of(folder), toy.leaves_of(finished)
    assert left.keys() == right.keys()
    assert all(left[path].tobytes() == right[path].tobytes() for path in left)
    assert cut < len(rows(finished))
    assert rows(folder) == rows(finished)


def test_sigkill_at_any_moment(tmp_path):
    """Killed again and again without warning, the run ends with the bits of an uninterrupted one."""
    command = [sys.executable, str(ROOT / "main.py"), "--config", "configs/finetune.py"]
    flags = toy.arguments(steps=60, eval_every=20, save_every=5, log_every=5, select="val/accuracy")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TL_CACHE": str(tmp_path / "cache")}
    log, saves = tmp_path / "killed" / "metrics.jsonl", tmp_path / "killed" / "checkpoints"

    def start(folder: pathlib.Path) -> subprocess.Popen:
        return subprocess.Popen(
            [*command, "--workdir", str(folder), *flags],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    whole = start(tmp_path / "whole")
    assert whole.communicate()[0]
    assert whole.returncode == 0
    killed, resumed = 0, False
    for wait in (0.0, 0.3, 0.05, None) if toy.ALL else (0.0, 0.3, None):
        process = start(tmp_path / "killed")
        known = log.stat().st_size if log.exists() else 0
        while wait is not None and process.poll() is None:
            # From the second time on there is something to go on from, however slow the disk is.
            stands = not killed or any(path.name.isdigit() for path in saves.glob("*"))
            if stands and log.exists() and log.stat().st_size > known:
                time.sleep(wait)
                process.send_signal(signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.01)
        output = process.communicate()[0]
        resumed |= "resumed from step " in output
    assert killed >= 2
    assert resumed
    assert process.returncode == 0, output
    left, right = toy.leaves_of(tmp_path / "killed"), toy.leaves_of(tmp_path / "whole")
    assert all(left[path].tobytes() == right[path].tobytes() for path in right)


def test_stages_follow_each_other(tmp_path):
    stages = (
        {"groups": (("head", {}), ("backbone", None)), "steps": 2},
        {"steps": 3, "schedule": {"lr": 1e-4}},
    )
    folder = tmp_path / "w"
    summary = build.run(toy.toy_config(stages=stages), folder, quiet=True)
    first, second = folder / "stages" / "0", folder / "stages" / "1"
    assert summary["steps"] == 3
    assert summary["stage0/test/accuracy"] == json.loads((first / "summary.json").read_text())["test/accuracy"]
    assert (folder / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()
    before, after = toy.leaves_of(first), toy.leaves_of(second)
    assert before.keys() == after.keys()
    assert before["params/head/kernel"].tobytes() != after["params/head/kernel"].tobytes()
    assert np.abs(before["params/head/kernel"] - after["params/head/kernel"]).max() < 0.05  # it went on, not anew


def test_a_set_of_runs_has_means_and_spread(tmp_path):
    variants = {"none": {"steps": 0}, "two": {"steps": 2}}
    summary = build.run(toy.toy_config(variants=variants, seeds=(0, 1)), tmp_path / "w", quiet=True)
    single = [
        json.loads((tmp_path / "w" / "two" / f"seed{seed}" / "summary.json").read_text())["test/accuracy"]
        for seed in (0, 1)
    ]
    assert summary["two/test/accuracy"] == pytest.approx(np.mean(single))
    assert summary["two/test/accuracy/std"] == pytest.approx(np.std(single, ddof=1))
    assert summary["none/test/accuracy"] != summary["two/test/accuracy"]
    assert (tmp_path / "w" / "report.html").is_file()


def test_folds_cover_the_labelled_images(tmp_path):
    summary = build.run(toy.toy_config(folds=2, steps=1, labels_per_class=0), tmp_path / "w", quiet=True)
    held = [np.load(tmp_path / "w" / f"fold{i}" / "predictions.npz")["val/label"] for i in (0, 1)]
    assert len(held[0]) + len(held[1]) == 897
    assert "val/accuracy/std" in summary


def test_an_ensemble_averages_probabilities_and_a_soup_weights(finished, tmp_path):
    other = tmp_path / "other"
    build.run(toy.toy_config(seed=3), other, quiet=True)
    spec = f"run:{finished}+run:{other}"
    settings = {"weights": spec, "steps": 0}
    together = build.run(
        toy.toy_config("configs/evaluate.py", combine="ensemble", **settings), tmp_path / "e", quiet=True
    )
    tables = [np.load(tmp_path / "e" / f"member{i}" / "predictions.npz") for i in (0, 1)]
    logits = [t["test/outputs/label"].astype(float) for t in tables]
    mean = np.mean([np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in logits], axis=0)
    assert together["test/accuracy"] == pytest.approx((mean.argmax(axis=1) == tables[0]["test/label"]).mean())
    between = build.run(
        toy.toy_config("configs/evaluate.py", combine="interpolate", interpolation=0.25, **settings),
        tmp_path / "i",
        quiet=True,
    )
    predicted = (0.75 * logits[0] + 0.25 * logits[1]).argmax(axis=1)
    assert between["test/accuracy"] == pytest.approx((predicted == tables[0]["test/label"]).mean())
    page = (tmp_path / "e" / "report.html").read_text()
    assert all(word in page for word in ("ensemble", 'href="member0/report.html"', 'href="member1/report.html"'))
    with pytest.raises(InputError, match=r"is made of several and has no weights of its own: .* as .*member0\.$"):
        predictor.load(tmp_path / "e")
    alone = toy.toy_config("configs/evaluate.py", steps=0, weights=f"run:{finished}", combine="interpolate")
    with pytest.raises(InputError, match="between two networks, not 1"):
        build.run(alone, tmp_path / "one", quiet=True)
    soup = build.run(toy.toy_config("configs/evaluate.py", **settings), tmp_path / "s", quiet=True)
    assert soup["test/accuracy"] != together["test/accuracy"] or soup["test/loss"] != together["test/loss"]


def test_predictions_equal_the_evaluation(finished):
    """The predictor, given the test images, gives the evaluator's outputs."""
    loaded = predictor.load(finished)
    held = np.load(finished / "predictions.npz")
    dataset = inputs.open_data(toy.toy_config())
    outputs = loaded.outputs(dataset.splits["test"])["label"]
    np.testing.assert_allclose(outputs, held["test/outputs/label"], rtol=1e-5, atol=1e-5)


def test_predict_script_on_files(finished, tmp_path, capsys):
    from PIL import Image

    from scripts import predict

    dataset = inputs.open_data(toy.toy_config())
    for i in range(3):
        Image.fromarray(dataset.splits["test"].load(i)).save(tmp_path / f"{i}.png")
    assert predict.main(["--workdir", str(finished), str(tmp_path), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    held = np.load(finished / "predictions.npz")["test/outputs/label"][:3].astype(float)
    probabilities = np.exp(held) / np.exp(held).sum(axis=1, keepdims=True)
    assert [pathlib.Path(row["file"]).name for row in found] == ["0.png", "1.png", "2.png"]
    np.testing.assert_allclose([list(row["probabilities"].values()) for row in found], probabilities, atol=1e-5)
    assert predict.main(["--workdir", str(finished), str(tmp_path / "0.png")]) == 0
    assert capsys.readouterr().out.startswith("file,class,probability,0,1,2")
    assert predict.main(["--workdir", str(finished), str(tmp_path / "absent")]) == 2


def test_a_checkpoint_of_eight_devices_opens_on_one(finished):
    import dataclasses

    import jax

    from tl import mesh as meshes
    from tl.checkpoint import Checkpoints

    experiment = build.experiment(toy.toy_config(select="val/loss", class_report=True, evaluate_before=True))
    one = dataclasses.replace(experiment, mesh=meshes.make_mesh(jax.devices()[:1]))
    state, _ = begin.init(one)
    kept = Checkpoints(finished / "checkpoints")
    assert kept.latest == 6
    restored = kept.restore(state, 6)
    assert all(len(leaf.sharding.device_set) == 1 for leaf in jax.tree.leaves(restored))
    assert int(restored.step) == 6
    kept.close()
