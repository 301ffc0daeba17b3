"""Whole runs over tagged words: prediction in another process, frozen tokens, LoRA and unfreezing."""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import toy

from tl import build, predictor
from tl.data.sources import open_source

ROOT = pathlib.Path(__file__).parents[1]
FEW = {"eval_every": 100}
READER = {"model": "lstm", "model_args": {"width": 8, "hidden": 8, "dropout": 0.0}}


def run(folder: pathlib.Path, name: str = "text_tags", quiet: bool = True, **changes):
    asked = {"task": "tags", "select": "", **toy.TAGS, **FEW}
    return build.run(toy.toy_config(f"configs/{name}.py", **{**asked, **changes}), folder, quiet=quiet)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("tags") / "w"
    summary = run(folder, **READER, steps=60, eval_every=60, schedule__lr=3e-2, select="val/f1", class_report=True)
    assert summary["test/f1"] > 0.6
    return folder


def test_the_page_and_the_files(finished):
    page = (finished / "report.html").read_text()
    for words in ("Entities by type", "By class", "Confusion matrix", "tags, 3 types", "--text"):
        assert words in page
    held = json.loads(next((finished / "class_report").glob("val-*.json")).read_text())
    assert set(held["classes"]) == {"LOC", "ORG", "PER"}
    assert np.shape(held["confusion"]) == (7, 7)


def test_a_run_answers_as_its_evaluation(finished):
    """Its vocabulary and tags lie in its weights; words stand at the tokens that were asked for."""
    loaded, held = predictor.load(finished), np.load(finished / "predictions.npz")
    test = open_source(toy.TAGS["data"], kind="tags").splits["test"]
    labels, outputs = held["test/label"], held["test/outputs/label"]
    said = loaded.tagged([" ".join(test.load(i)) for i in range(len(test))])
    (task,) = loaded.tasks.values()
    for i, row in enumerate(said):
        asked = labels[i] >= 0
        assert [answer["word"] for answer in row["words"]] == list(test.load(i))
        assert [answer["tag"] for answer in row["words"]] == [task.classes[n] for n in outputs[i][asked].argmax(axis=1)]
    long = loaded.tagged(["anna " * 40])[0]["words"]
    assert [answer["tag"] is None for answer in long] == [i >= labels.shape[1] for i in range(40)]


def test_predict_by_command_in_another_process(finished):
    command = [
        sys.executable,
        str(ROOT / "scripts" / "predict.py"),
        "--workdir",
        str(finished),
        "--text",
        "nothing was",
    ]
    command += ["--text", "clara went to new york."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["word"] for row in rows] == ["nothing", "was", "clara", "went", "to", "new", "york", "."]
    assert [row["text"] for row in rows] == ["1", "1", *["2"] * 6]
    said = predictor.load(finished).tagged(["clara went to new york."])[0]
    assert [row["tag"] for row in rows[2:]] == [answer["tag"] for answer in said["words"]]
    begun = {entity["first"]: f"{entity['type']}: {entity['text']}" for entity in said["entities"]}
    assert begun
    assert [row["entity"] for row in rows[2:]] == [begun.get(i, "") for i in range(6)]


def test_frozen_tokens_are_computed_once(tmp_path, capsys):
    """The maps that are kept are those of tokens, not the features of sentences, and give the same head."""
    probe = {**READER, "groups": (("head", {}), ("backbone", None)), "steps": 24, "head__dropout": 0.0}
    kept = run(tmp_path / "kept", quiet=False, **probe)
    assert "everything up to 'lstm' is frozen: computed once" in capsys.readouterr().out
    again = run(tmp_path / "again", **probe, recompute_frozen=True)
    assert kept["params/trained"] == 16 * 7 + 7
    for name in ("test/loss", "test/f1", "val/loss"):
        assert kept[name] == pytest.approx(again[name], abs=1e-5)
    left, right = (toy.leaves_of(tmp_path / name)["params/head/kernel"] for name in ("kept", "again"))
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_layers_thaw_and_lora_is_learnt(tmp_path):
    args = {**toy.TAGS["model_args"], "dropout": 0.0}
    stages = (
        {"groups": (("head", {}), ("backbone", None))},
        {"groups": (("head", {}), ("backbone/layer2/", {}), ("backbone", None))},
    )
    run(tmp_path / "u", "text_unfreezing", stages=stages, model_args=args, steps=4)
    first, second = (toy.leaves_of(tmp_path / "u" / "stages" / str(i)) for i in range(2))
    moved = {
        path.split("/")[2] for path in first if path.startswith("params/b") and (first[path] != second[path]).any()
    }
    assert moved == {"layer2"}
    groups = ((".*/lora_[ab]$", {}), ("backbone", None), (".*", {}))
    lora = {"task": "tags", "lora__rank": 2, "groups": groups, "schedule__warmup": 0, "schedule__lr": 3e-2}
    work = toy.Steps(toy.toy_config("configs/text_lora.py", **{**toy.TAGS, **lora}), devices=1)
    losses = [row["loss"] for row in work.run(8)]
    assert losses[-1] < losses[0]
