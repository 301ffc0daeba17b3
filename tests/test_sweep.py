"""A search over config keys: what is tried, who does it, and what it leaves."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import browser
import filelock
import numpy as np
import pytest
import toy

from scripts import space, sweep
from tl import build, config
from tl.errors import InputError
from tl.train import Diverged

ROOT = pathlib.Path(__file__).parents[1]
RATE = "schedule.lr=log:1e-4..1e-1"


@pytest.fixture
def runs(monkeypatch):
    """Runs that take no time: the figure is best at a rate of 0.01, and Adam is a little better than SGD."""
    done = []

    def run(chosen, folder, *, quiet, watch):
        distance = abs(np.log10(chosen.schedule.lr) + 2) + 0.1 * (chosen.optim.name == "sgd")
        for step in (1, 2):
            watch({"val/accuracy": 1 - distance / step, "step": step})
        done.append((chosen.schedule.lr, chosen.optim.name, folder.name))
        return {"val/accuracy": 1 - distance / 2}

    monkeypatch.setattr(build, "run", run)
    return done


def search(folder, *arguments):
    fixed = ["--config", "configs/probe.py", "--workdir", str(folder), "--select", "val/accuracy"]
    return sweep.main([*fixed, *arguments])


def test_a_grid_tries_every_cell_once_and_the_best_is_a_config(runs, tmp_path, capsys):
    grid = ["--how", "grid", "--space", "schedule.lr=0.001|0.01|0.1", "--space", "optim.name=sgd|adam", "--no-prune"]
    assert search(tmp_path, *grid, "--config.steps=7") == 0
    assert sorted(run[:2] for run in runs) == [(lr, name) for lr in (0.001, 0.01, 0.1) for name in ("adam", "sgd")]
    assert search(tmp_path, *grid, "--config.steps=7") == 0  # finished: nothing is run again
    assert len(runs) == 6
    best = config.load(str(tmp_path / "best.py"), {"batch_size": 11})
    assert (best.schedule.lr, best.optim.name, best.steps, best.batch_size) == (0.01, "adam", 7, 11)
    assert best.select == "val/accuracy"
    held = json.loads((tmp_path / "sweep.json").read_text())
    assert [trial["value"] for trial in held["trials"]] == sorted((t["value"] for t in held["trials"]), reverse=True)
    page = (tmp_path / "report.html").read_text()
    assert "Importance" in page
    assert f"python main.py --config {tmp_path / 'best.py'}" in capsys.readouterr().out


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_in_a_browser(dark, runs, tmp_path):
    assert search(tmp_path, "--trials", "6", "--space", RATE, "--space", "optim.name=sgd|adam") == 0
    browser.judge(tmp_path / "report.html", dark)


def test_what_is_tried_depends_on_the_seed_alone(runs, tmp_path):
    for folder in ("a", "b"):
        assert search(tmp_path / folder, "--space", RATE, "--trials", "6", "--how", "random", "--seed", "3") == 0
    assert runs[:6] == runs[6:]
    rates = np.array([run[0] for run in runs[:6]])
    assert ((rates > 1e-4) & (rates < 1e-1)).all()
    assert len(set(rates)) == 6
    assert search(tmp_path / "c", "--space", RATE, "--trials", "30", "--no-prune") == 0
    # Later trials are nearer to the best than chance, which is 0.75 decades away in the mean.
    assert np.abs(np.log10([run[0] for run in runs[-10:]]) + 2).mean() < 0.5


def test_a_trial_that_falls_behind_is_stopped(runs, tmp_path):
    rates = "schedule.lr=0.01|0.011|0.012|0.013|0.0001"
    assert search(tmp_path, "--how", "grid", "--space", rates) == 0
    ended = [trial["ended"] for trial in json.loads((tmp_path / "sweep.json").read_text())["trials"]]
    assert ended[-1] == "stopped at step 1: worse than the median"
    assert len(runs) == 4


def test_a_trial_that_was_cut_off_goes_on_where_nobody_is_at_it(runs, tmp_path, monkeypatch, capsys):
    real, cut = build.run, []

    def interrupted(chosen, folder, **how):
        if folder.name == "trial1" and not cut:
            cut.append(chosen.schedule.lr)
            raise KeyboardInterrupt
        return real(chosen, folder, **how)

    monkeypatch.setattr(build, "run", interrupted)
    arguments = ["--space", RATE, "--trials", "4", "--no-prune"]
    assert search(tmp_path, *arguments) == 130
    with filelock.FileLock(tmp_path / "locks" / "1"):  # another process is at it: two more are taken, and not that one
        assert search(tmp_path, *arguments) == 0
    assert [run[2] for run in runs] == ["trial0", "trial2", "trial3"]
    assert search(tmp_path, *arguments) == 0
    assert runs[-1] == (cut[0], runs[-1][1], "trial1")


def test_a_trial_that_fails_says_why_and_the_others_go_on(runs, tmp_path, monkeypatch, capsys):
    real = build.run

    def failing(chosen, folder, **how):
        if chosen.schedule.lr == 0.2:
            raise MemoryError("too much")
        if chosen.schedule.lr > 0.05:
            raise Diverged("the loss is nan")
        return real(chosen, folder, **how)

    monkeypatch.setattr(build, "run", failing)
    assert search(tmp_path / "a", "--how", "grid", "--space", "schedule.lr=0.1|0.01") == 0
    assert "schedule.lr=0.1000: failed: the loss is nan" in capsys.readouterr().out
    assert search(tmp_path / "b", "--how", "grid", "--space", "schedule.lr=0.1|0.2") == 1
    assert "no trial came to its end:\n[1] failed: the loss is nan\n[2] failed: Memory" in capsys.readouterr().err


def test_what_holds_for_all_trials_ends_a_sweep_that_can_be_gone_on_with(runs, tmp_path, monkeypatch, capsys):
    real = build.run

    def refused(chosen, folder, **how):
        raise InputError("there is no data")

    arguments = ["--space", RATE, "--trials", "3", "--no-prune"]
    monkeypatch.setattr(build, "run", refused)
    for _ in range(2):
        assert search(tmp_path, *arguments) == 2
        assert re.search(r"error: trial 0, schedule.lr=\S+: there is no data", capsys.readouterr().err)
    monkeypatch.setattr(build, "run", real)  # mended
    assert search(tmp_path, *arguments) == 0
    assert [run[2] for run in runs] == ["trial0", "trial1", "trial2"]
    # What is wrong with one trial's values alone is that trial's end.
    monkeypatch.setattr(build, "run", refused)
    assert search(tmp_path, "--space", RATE, "--trials", "4", "--no-prune") == 0
    assert "failed: there is no data" in capsys.readouterr().out


def test_a_choice_may_be_a_tuple(runs, tmp_path):
    for how in ("grid", "tpe", "random"):
        folder, known = tmp_path / how, len(runs)
        arguments = ["--space", "schedule.boundaries=(0.5,)|(0.5,0.75)", "--space", "schedule.lr=0.01|0.02"]
        assert search(folder, "--how", how, "--trials", "4", "--no-prune", *arguments) == 0
        assert len(runs) == known + 4
        assert config.load(str(folder / "best.py")).schedule.boundaries in ((0.5,), (0.5, 0.75))


@pytest.mark.skipif(not toy.ALL, reason="TL_TESTS=all is not set: no two processes shared a sweep")
def test_two_processes_share_a_sweep(tmp_path):
    flags = toy.arguments(steps=2, eval_every=2, select="val/accuracy")
    command = [sys.executable, "scripts/sweep.py", "--config", "configs/finetune.py", "--workdir", str(tmp_path)]
    command += ["--space", RATE, "--trials", "4", "--no-prune", *flags]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in "ab"
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    ended = [re.findall(r"^\[(\d)\] schedule.lr=\S+: val/accuracy", text, re.MULTILINE) for text in said]
    assert sorted(ended[0] + ended[1]) == ["1", "2", "3", "4"], said
    assert ended[0], said
    assert ended[1], said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "a sweep needs keys to vary"),
        (["--space", "schedule.lr"], "--space schedule.lr is no key with values"),
        (["--space", "schedule.lr=1..0.1"], "the first number must be the smaller one"),
        (["--space", "schedule.lr=log:0..1"], "the smaller one, above 0"),
        (["--space", RATE, "--space", "schedule.lr=0..1"], "names schedule.lr twice"),
        (["--space", "schedule.lt=0..1"], "unknown config key 'schedule.lt'"),
        (["--space", "optim.name=1|2"], "config key 'optim.name' takes a string"),
        (["--space", RATE, "--how", "grid"], "a grid has listed values, and schedule.lr is a range"),
        (["--space", RATE, "--trials", "-3"], "--trials -3 are none"),
        (["--space", RATE, "--how", "best"], "unknown --how 'best'"),
        (["--space", RATE, "--select", "score/information"], "must be a figure of val"),
        (["--space", RATE, "--select", "test/accuracy"], "must be a figure of val"),
    ],
)
def test_searches_that_cannot_be(arguments, said, runs, tmp_path, capsys):
    assert search(tmp_path / "a", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_folder_belongs_to_one_search(runs, tmp_path, capsys):
    assert search(tmp_path, "--space", RATE, "--trials", "2") == 0
    assert search(tmp_path, "--space", "schedule.lr=log:1e-4..1e-2", "--trials", "2") == 2
    assert "holds a sweep with space=" in capsys.readouterr().err


def test_a_rate_from_0_to_1_is_any_number_between(runs, tmp_path):
    assert search(tmp_path, "--space", "schedule.lr=0..1", "--trials", "3", "--how", "random", "--no-prune") == 0
    assert len({run[0] for run in runs} - {0, 1}) == 3
    # More are asked for: those before stay.
    assert search(tmp_path, "--space", "schedule.lr=0..1", "--trials", "5", "--how", "random", "--no-prune") == 0
    assert len({run[0] for run in runs}) == len(runs) == 5


def test_whole_numbers_stay_whole():
    axis = space.parse(["batch_size=log:8..64"])["batch_size"]
    drawn = [axis.draw(np.random.default_rng(i)) for i in range(20)]
    assert {type(value) for value in drawn} == {int}
    assert min(drawn) >= 8
    with pytest.raises(InputError, match="no key with values"):
        space.parse(["=1..2"])
