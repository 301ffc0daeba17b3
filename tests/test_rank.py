"""scripts/rank.py: backbones side by side, what is recommended, and input that cannot be ranked."""

from __future__ import annotations

import json

import pytest

from scripts import backbones, rank
from tl import build, config

SMALL = ["--data", "digits", "--labels-per-class", "6"]


def test_a_table_and_a_recommendation(tmp_path, capsys):
    backbones = ["resnet20_cifar=bundled", "lenet=none"]
    out = tmp_path / "rows.json"
    assert rank.main([*SMALL, "--json", str(out), "--config.image_size=16", "--config.resize=16", *backbones]) == 0
    said = capsys.readouterr().out
    rows = json.loads(out.read_text())
    assert {row["backbone"] for row in rows} == set(backbones)
    assert [row["ridge"] for row in rows] == sorted((row["ridge"] for row in rows), reverse=True)
    for row in rows:
        assert row["images"] == 60
        assert row["classes"] == 10
        assert ("leep" in row) == (row["backbone"] == "resnet20_cifar=bundled")
    assert said.splitlines()[0].split() == ["backbone", *rank.COLUMNS, "parameters", "images/s"]
    assert "take " in said
    assert "With 6 images a class begin with configs/probe.py or configs/lp_ft.py." in said


def test_a_run_says_the_same_of_its_backbone(tmp_path):
    shape = {"image_size": 16, "resize": 16, "labels_per_class": 6, "val_fraction": 0.0, "data": "digits"}
    whole = {"model": "resnet20_cifar", "weights": "bundled", "train_transforms": ()}
    row = rank.measured(backbones.experiment_of("resnet20_cifar", "bundled", shape))
    chosen = config.load("configs/probe.py", {**shape, **whole, "steps": 1, "select": "", "transferability": True})
    summary = build.run(chosen, tmp_path / "run", quiet=True, report=False)
    for name in rank.COLUMNS:
        assert summary[f"before/{name}"] == pytest.approx(row[name], rel=1e-5)


def test_the_recommendation_weighs_speed_within_a_standard_error():
    row = {"images": 100, "classes": 2, "images_per_s": 10.0, "logme": 0.0}
    best, near = {**row, "backbone": "a=x", "ridge": 0.90}, {**row, "backbone": "b=y", "ridge": 0.88}
    # A standard error of .03: the second is as good, and faster.
    said = rank.recommendation([best, {**near, "images_per_s": 20.0, "logme": -1.0}])
    assert said.startswith("take b=y: its probe is right on 88.0% of 100 images, within a standard error of the best")
    assert "though LogME prefers a=x" in said
    assert rank.recommendation([best, {**near, "ridge": 0.8, "images_per_s": 20.0}]).startswith("take a=x: its probe")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*SMALL, "resnet20_cifar"], "'resnet20_cifar' is no MODEL=WEIGHTS"),
        ([*SMALL, "resnet21=none"], "resnet21"),
        ([*SMALL, "lenet=none", "--config.image_sice=8"], "unknown config key 'image_sice'"),
        ([*SMALL, "--config.image_size=8", "lenet=none"], "too small for lenet: set config.image_size to 28"),
        (["--data", "nothing:there", "lenet=none"], "nothing"),
    ],
)
def test_what_cannot_be_ranked_is_said_in_a_sentence(arguments, sentence, capsys):
    assert rank.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
