"""Rows, console, figures and pages of a run: numbers are looked up in what was written."""

from __future__ import annotations

import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tl import metrics
from tl.errors import InputError
from tl.report import files, images, provenance, sections
from tl.report.console import Progress, duration, main_metric
from tl.report.html import write_run, write_set
from tl.report.log import Log

NOWHERE = re.compile(r"""https?:|(?:src|href)=["']?//|@import|url\((?!#)""")


def test_a_log_is_cut_where_the_run_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with Log(tmp_path) as log:
        for step in (1, 2, 3):
            log.row(step, {"train/loss": np.float32(step), "epoch": step, "note": "a"})
    path.write_text(path.read_text() + '{"step": 4, "train/lo')  # killed while writing
    with Log(tmp_path, resume_step=2) as log:
        assert [row["step"] for row in log.rows()] == [1, 2]
        log.row(3, {"train/loss": 30.0})
        assert log.rows() == [json.loads(line) for line in path.read_text().splitlines()]
        assert log.rows()[-1] == {"step": 3, "train/loss": 30.0}
    assert len(list((tmp_path / "tb").iterdir())) == 2
    with Log(tmp_path) as log:  # a run from the beginning
        assert log.rows() == []
    assert path.read_text() == ""


def test_a_log_has_no_nan_in_its_json(tmp_path, caplog):
    with Log(tmp_path) as log:
        log.row(1, {"train/loss": float("nan"), "val/accuracy": np.float64("inf")})
        assert math.isnan(log.rows()[0]["train/loss"])

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=refuse) == {"step": 1, "train/loss": None, "val/accuracy": None}
    assert not caplog.records
    with Log(tmp_path, resume_step=1) as log:
        assert math.isnan(log.rows()[0]["val/accuracy"])


def test_other_processes_write_nothing(tmp_path):
    with Log(tmp_path / "new", write=False) as log:
        log.row(1, {"train/loss": 1.0})
        assert log.rows() == [{"step": 1, "train/loss": 1.0}]
    assert not (tmp_path / "new").exists()


def test_line_files_heal_at_their_end_only(tmp_path):
    path = tmp_path / "cells.jsonl"
    files.append_line(path, {"a": 1})
    path.write_text(path.read_text() + '{"a": 2')
    assert files.read_lines(path) == [{"a": 1}]
    files.append_line(path, {"a": np.int64(3)})
    assert path.read_text() == '{"a": 1}\n{"a": 3}\n'
    path.write_text('{"a": 1}')  # whole, only its newline is missing
    files.append_line(path, {"a": 2})
    assert path.read_text() == '{"a": 1}\n{"a": 2}\n'
    path.write_text('{"a": 1}\n<<<<<<<\n{"a": 2}\n')
    with pytest.raises(InputError, match="line 2"):
        files.read_lines(path)


def shown(updates, *, quiet=False, terminal=False):
    """What a run of 100 steps of half a second prints; updates: {step: values}."""
    now, out = [0.0], io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200, color_system=None)
    with Progress(100, 0, 10, "", quiet, console=console, clock=lambda: now[0]) as progress:
        progress.message("resumed from [step] 0")
        for step in range(1, 101):
            now[0] += 0.5
            progress.update(step, {"train/loss": 0.4119, **updates.get(step, {})}, 812.4)
    return out.getvalue()


def test_plain_lines_come_every_five_seconds_and_at_evaluations():
    lines = shown({15: {"val/loss": 1.0, "val/accuracy": 0.931}}).splitlines()
    assert lines[0] == "resumed from [step] 0"
    assert lines[1] == "step 1/100  epoch 1/10  loss 0.412  812 images/s  -:-- left"
    assert lines[2].startswith("step 11/100")
    assert lines[3] == "step 15/100  epoch 2/10  loss 0.412  val/accuracy 0.931  812 images/s  0:42 left"
    assert lines[4].startswith("step 25/100  epoch 3/10  loss 0.412  val/accuracy 0.931")
    assert lines[-1] == "step 100/100  epoch 10/10  loss 0.412  val/accuracy 0.931  812 images/s  done"
    assert len(lines) == 4 + 8 + 1


def test_quiet_is_quiet_and_a_terminal_has_a_bar():
    assert shown({}, quiet=True) == ""
    text = shown({}, terminal=True)
    assert "100/100" in text
    assert "━" in text
    assert "resumed from [step] 0" in text


def test_small_words():
    assert [duration(s) for s in (0, 42.4, 723, 11100)] == ["0:00", "0:42", "12:03", "3:05:00"]
    assert main_metric({"val/loss": 1, "val/f1_macro": 1, "val/accuracy": 1, "test/auc": 1}) == "val/accuracy"
    assert main_metric({"train/loss": 1}) == ""


def test_grid_and_pictures(tmp_path):
    batch = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 5, 3), np.uint8)
    picture = images.grid(batch, columns=2)
    assert picture.shape == (4 + 2 + 4, 5 + 2 + 5, 3)
    assert (picture[:4, 7:] == 1).all()
    assert (picture[6:, :5] == 2).all()
    assert (picture[6:, 7:] == 128).all()
    images.save_png(tmp_path / "a.png", picture)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == picture).all()
    with pytest.raises(ValueError, match="float64"):
        images.grid(batch / 255.0)


def test_configs_are_flattened_and_compared():
    one = {"data": {"source": "digits", "per_class": 5}, "groups": [["head.*", {}], [".*", None]]}
    flat = {"data.source": "digits", "data.per_class": "5", "groups": '[["head.*", {}], [".*", null]]'}
    assert sections.flat(one) == flat
    other = {"data": {"source": "digits", "per_class": 10}, "ema": 0.9}
    found = sections.differences({"a": one, "b": other})
    assert found == [("data.per_class", ["5", "10"]), ("groups", [flat["groups"], ""]), ("ema", ["", "0.9"])]


def test_provenance(tmp_path):
    assert provenance.commit(tmp_path) == ""
    assert re.fullmatch(r"([0-9a-f]{12}(\+dirty)?)?", provenance.commit())
    assert set(provenance.versions()) == {"python", "jax", "flax", "optax", "orbax", "numpy", "tl"}


def make_page(folder, **changes):
    evil = "<script>alert(1)</script>"
    matrix = np.array([[8, 2], [1, 9]])
    image = np.full((40, 30, 3), 200, np.uint8)
    arguments = {
        "title": f"run {evil}",
        "config": {"data": {"source": evil}, "lr": float("nan")},
        "rows": [
            {"step": 1, "train/loss": 2.0, "lr": 0.1},
            {"step": 2, "train/loss": math.nan, "val/accuracy": 0.85, "val/mae": 30.0},
        ],
        "summary": {
            "test/accuracy": 0.8512,
            "val/accuracy": 0.9,
            "seed": 7,
            "commit": "abc",
            "time/wall_s": 61.0,
        },
        "classes": ["cat", f"dog{evil}"],
        "probabilities": np.array([[0.9, 0.1], [0.2, 0.8]]),
        "labels": np.array([0, 1]),
        "examples": [(image, f"{evil}.png", 0, 0, 0.75), (image, "b.png", 0, 1, 0.625)],
        "batch_image": image,
        "params_table": [{"layer": "head", "parameters": 1234, "trained": True}],
        "confusion": matrix,
        "class_report": metrics.class_report(matrix),
        "predict": "python scripts/predict.py --workdir W",
    }
    path = write_run(folder, **{**arguments, **changes})
    return path.read_text(encoding="utf-8")


def test_a_page_holds_its_numbers_and_nothing_foreign(tmp_path):
    page = make_page(tmp_path)
    assert len(page) < 200_000
    assert "<script" not in page
    assert not NOWHERE.search(page)
    for text in (
        "0.8512",
        "1:01",
        ">8<",
        "0.8889",
        "1,234",
        "python scripts/predict.py",
        "data.source",
        "abc",
    ):
        assert text in page, text
    assert page.index("b.png") < page.index("script&gt;.png")  # mistakes come first
    assert "✗ wrong: dog" in page
    assert "1 wrong of 2 shown" in page
    assert page.count("<svg") == 6  # loss, accuracy, MAE on its own scale, learning rate, classes, calibration
    assert page.count("<h1>") == 1
    assert all('alt="' in tag for tag in re.findall("<img[^>]*>", page))
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_many_classes_and_little_else(tmp_path):
    matrix = np.diag(np.full(100, 50))
    matrix[3, 5] = 7
    names = [f"class {i}" for i in range(100)]
    page = make_page(
        tmp_path, confusion=matrix, classes=names, rows=[], examples=[], class_report=None, probabilities=None
    )
    assert "Confusion matrix of 100 classes" in page
    assert "<td>class 3</td><td>class 5</td>" in page
    assert "<svg" not in page


def test_a_regression_has_a_scatter_and_no_marks(tmp_path):
    true = np.array([1.0, 2.0, 3.0])
    examples = [(np.zeros((4, 4, 3), np.uint8), "a", 1.0, 1.25, None)]
    page = write_run(
        tmp_path,
        title="age",
        config={},
        rows=[],
        summary={"test/r2": 0.5},
        kind="regression",
        classes=("age",),
        probabilities=true[:, None] + 0.1,
        labels=true,
        examples=examples,
    ).read_text()
    assert "predicted against true values of 3 examples" in page
    assert "predicted: 1.2500" in page
    assert "✗" not in page


def test_a_set_of_runs(tmp_path):
    rows = [("probe", "time/wall_s", 3.0, 0.0, 2), ("probe", "test/accuracy", 0.92, 0.01, 2)]
    rows += [("fine<tune", "test/accuracy", 0.95, 0.0, 1), ("fine<tune", "time/wall_s", 9.0, 0.0, 1)]
    curve = [{"step": 1, "val/accuracy": 0.5}, {"step": 2, "val/accuracy": None}]
    later = [{"step": 1, "val/accuracy": 0.7}, {"step": 3, "val/accuracy": 0.8}]
    page = write_set(
        tmp_path,
        title="set",
        rows=rows,
        runs={"probe/seed0": ("probe/seed0/report.html", {"seed": 0, "test/accuracy": 0.93})},
        curves={"probe": [curve, later], "fine<tune": curve},
        configs={"probe": {"lr": 0.1, "steps": 5}, "fine<tune": {"lr": 0.2, "steps": 5}},
    ).read_text()
    assert "0.9200 ± 0.0100 (2)" in page
    assert '<td class="num best">0.9500 ± - (1)</td>' in page
    assert "fine&lt;tune" in page
    assert 'href="probe/seed0/report.html"' in page
    assert page.index("test/accuracy") < page.index("time/wall_s")
    assert re.search(r'mono">lr</th><td><code>0.1</code></td><td><code>0.2</code>', page)
    assert 'mono">steps<' not in page
    assert not NOWHERE.search(page)
