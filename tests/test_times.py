"""What a run says of its time and of its rows when it was started more than once, or is made of parts."""

from __future__ import annotations

import json
import pathlib

import pytest
import toy

import tl
from tl import build, errors, train, workdir
from tl.report import files

STAGES = ({"steps": 2}, {"steps": 3, "evaluate_before": True})


@pytest.fixture
def clock(monkeypatch):
    """A list whose one number is the time."""
    now = [0.0]
    monkeypatch.setattr(workdir.time, "perf_counter", lambda: now[0])
    return now


def opened(folder: pathlib.Path, phase: str) -> workdir.Spent:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    spent = workdir.Spent(phase)
    spent.open(folder)
    return spent


def test_seconds_of_all_starts_by_hand(clock, tmp_path):
    unclaimed = workdir.Spent("start")
    unclaimed.keep()
    assert not (tmp_path / workdir.TIMES).exists()
    spent = opened(tmp_path, "start")
    clock[0] += 3
    spent.enter("train")
    clock[0] += 10
    spent.keep()
    clock[0] += 5  # lost: killed before the next checkpoint
    spent = opened(tmp_path, "start")
    clock[0] += 2
    spent.enter("train")
    clock[0] += 4
    spent.enter("end")
    clock[0] += 1
    assert spent.seconds == {"start": 5, "train": 14, "end": 1}
    assert spent.total() == 20
    spent.keep()
    assert workdir.told(tmp_path) == 20
    (tmp_path / "summary.json").write_text('{"time/wall_s": 19.5}')
    assert workdir.told(tmp_path) == 19.5


def work(clock, folder: pathlib.Path, seconds: float, *, ends: bool) -> None:
    """A part that takes so long, of which a second is no run's: it reads the data."""
    clock[0] += 1
    spent = opened(folder, "train")
    clock[0] += seconds
    spent.keep()
    if not ends:
        raise KeyboardInterrupt
    (folder / "summary.json").write_text(json.dumps({"time/wall_s": spent.total()}))


def test_a_run_of_parts_counts_those_that_were_finished_before(clock, tmp_path):
    parts = [tmp_path / "stages" / str(number) for number in range(2)]
    spent = opened(tmp_path, "own")
    with spent.part(parts[0]):
        work(clock, parts[0], 20, ends=True)
    with pytest.raises(KeyboardInterrupt), spent.part(parts[1]):
        work(clock, parts[1], 7, ends=False)
    assert workdir.told(tmp_path) == 1 + 20 + 1 + 7
    spent = opened(tmp_path, "own")
    with spent.part(parts[0]):
        clock[0] += 0.5  # finished: its summary is read
    with spent.part(parts[1]):
        work(clock, parts[1], 5, ends=True)
    assert spent.total(parts) == 1 + 20 + 1 + 7 + 0.5 + 1 + 5
    assert json.loads((tmp_path / workdir.TIMES).read_text()) == {"own": 3.5}


def test_an_interrupted_run_says_what_all_its_starts_took(tmp_path, monkeypatch):
    chosen, folder = toy.toy_config(eval_every=2, save_every=2, select="val/loss"), tmp_path / "w"
    kept = folder / workdir.TIMES

    def stop(row):
        if row["step"] == 4:
            assert kept.is_file()  # since the checkpoint of step 2
            kept.unlink()
            raise train.Stopped

    with pytest.raises(train.Stopped):
        build.run(chosen, folder, quiet=True, watch=stop)
    first = json.loads(kept.read_text())
    assert first.keys() == {"start", "train"}
    assert min(first.values()) > 0
    kept.write_text('{"start": 100, "train": 2000}')
    summary = build.run(chosen, folder, quiet=True)
    assert 100 < summary["time/start_s"] < 2000 < summary["time/train_s"]
    assert summary["time/wall_s"] > summary["time/start_s"] + summary["time/train_s"]
    assert "35:0" in (folder / "report.html").read_text()  # 2100 s
    assert build.run(chosen, folder, quiet=True) == summary


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> pathlib.Path:
    """A set of two runs of two stages."""
    folder = tmp_path_factory.mktemp("staged") / "set"
    build.run(toy.toy_config(stages=STAGES, seeds=(0, 1), log_every=1, eval_every=1), folder, quiet=True)
    return folder


def test_the_rows_of_stages_are_those_of_one_run(staged):
    run = staged / "seed0"
    steps, values = tl.curve(run, "val/accuracy")
    assert steps == [1, 2, 3, 4, 5]
    assert values[2:] == tl.curve(run / "stages" / "1", "val/accuracy")[1]
    assert tl.curve(run, "before/test/accuracy")[0] == [2]
    assert [row["step"] for row in files.read_rows(run) if "train/loss" in row] == [1, 2, 3, 4, 5]
    page = (staged / "report.html").read_text()
    assert 'aria-label="val/accuracy: runs over step"' in page
    assert 'aria-label="train/loss: runs over step"' in page


def test_a_folder_without_rows_is_told(staged, tmp_path):
    for folder in (staged, tmp_path / "none"):
        with pytest.raises(errors.InputError, match=r"holds no metrics.jsonl with rows: name the folder of one run"):
            tl.curve(folder, "val/accuracy")
    with pytest.raises(errors.InputError, match=r"unknown scalar of .*did you mean val/accuracy"):
        tl.curve(staged / "seed0", "val/acuracy")


def test_the_page_of_stages_says_which_it_is(staged):
    run = staged / "seed0"
    page = (run / "report.html").read_text()
    assert "<h1>seed0</h1>" in page
    assert "<title>seed0</title>" in page
    assert "This page is of the last of 2 stages" in page
    assert 'Before it: <a href="stages/0/report.html">stage 1</a>.' in page
    assert (run / "stages" / "0" / "report.html").is_file()


def test_a_set_that_is_started_again_has_taken_no_less(staged):
    def seconds(folder: pathlib.Path, key: str = "wall") -> float:
        return json.loads((folder / "summary.json").read_text())[f"time/{key}_s"]

    runs = [staged / f"seed{seed}" for seed in (0, 1)]
    before = seconds(staged)
    for run in runs:
        stages = [run / "stages" / str(number) for number in (0, 1)]
        assert seconds(run) > sum(map(seconds, stages))
        assert seconds(run, "train") == pytest.approx(sum(seconds(stage, "train") for stage in stages))
    assert before > sum(map(seconds, runs))
    build.run(toy.toy_config(stages=STAGES, seeds=(0, 1), log_every=1, eval_every=1), staged, quiet=True)
    assert seconds(staged) >= before
