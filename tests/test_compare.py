"""Two runs side by side."""

from __future__ import annotations

import json

import pytest

from scripts import compare


def run(folder, config, *, summary=None, rows=()):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return str(folder)


CONFIG = {"schedule": {"lr": 0.1, "name": "cosine"}, "method": "finetune"}


def test_what_differs_is_said_and_what_does_not_is_not(tmp_path, capsys):
    one = run(tmp_path / "one", CONFIG, summary={"test/accuracy": 0.5, "test/loss": 1.5, "val/auc": 0.9, "steps": 5})
    other = {**CONFIG, "schedule": {"lr": 0.2, "name": "cosine"}}
    two = run(tmp_path / "two", other, summary={"test/accuracy": 0.75, "test/loss": 1.5, "steps": 5})
    assert compare.main([one, two]) == 0
    printed = capsys.readouterr().out
    assert "schedule.lr" in printed
    assert "+0.25" in printed
    assert not any(text in printed for text in ("schedule.name", "test/loss", "steps"))
    assert "val/auc" in printed  # one of them alone has it
    assert compare.main([one, two, "--all"]) == 0
    assert "test/loss" in capsys.readouterr().out
    assert compare.main([one, one]) == 0
    assert capsys.readouterr().out == "the configs are the same.\nthe results are the same.\n"


def test_a_run_at_work_is_compared_by_its_last_evaluation_and_a_set_by_its_variants(tmp_path, capsys):
    rows = [{"step": 1, "val/accuracy": 0.3}, {"step": 2, "val/accuracy": 0.4}, {"step": 3, "train/loss": 1.0}]
    one = run(tmp_path / "one", CONFIG, rows=rows)
    two = run(tmp_path / "two", CONFIG, summary={"val/accuracy": 0.5, "probe/test/accuracy": 0.6})
    assert compare.side_by_side(compare.read(tmp_path / "one")[1], compare.read(tmp_path / "two")[1], every=False) == [
        ["val/accuracy", 0.4, 0.5, "+0.1"],
        ["probe/test/accuracy", "", 0.6, ""],
    ]
    assert compare.main([one, two]) == 0


def test_a_run_of_stages_at_work_is_compared_by_the_last_evaluation_of_all_stages(tmp_path):
    run(tmp_path / "run", CONFIG)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    (tmp_path / "run" / "stages").mkdir()
    rows = [{"step": 1, "val/accuracy": 0.3, "val/auc": 0.6}, {"step": 4, "val/accuracy": 0.4}]
    run(tmp_path / "run" / "stages" / "0", CONFIG, rows=rows, summary={"val/accuracy": 0.3})
    run(tmp_path / "run" / "stages" / "1", CONFIG, rows=[{"step": 2, "val/accuracy": 0.5}])
    assert compare.read(tmp_path / "run")[1] == {"step": 6, "val/accuracy": 0.5, "val/auc": 0.6}


@pytest.mark.parametrize("held", [False, True])
def test_folders_that_are_no_runs(held, tmp_path, capsys):
    if held:
        run(tmp_path / "one", CONFIG)
    assert compare.main([str(tmp_path / "one"), str(tmp_path)]) == 2
    assert ("let it run for a while" if held else "is no run: it has no config.json") in capsys.readouterr().err
