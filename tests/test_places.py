"""Where a script cannot write, it says so before it reads or computes anything."""

from __future__ import annotations

import importlib
import os

import pytest

SCRIPTS = {
    "predict": ["IMAGE", "--workdir", "nowhere", "--out"],
    "explain": ["IMAGE", "--workdir", "nowhere", "--out"],
    "assess": ["--workdir", "nowhere", "--json"],
    "rank": ["--backbones", "resnet50", "--data", "nothing:", "--json"],
    "stack": ["--backbones", "resnet50", "vgg16", "--data", "nothing:", "--json"],
    "show_batch": ["--config", "nowhere.py", "--out"],
}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("place", "said"), [("folder", "is a folder: name a file"), ("file/x", "its folder cannot be made")]
)
def test_a_place_that_cannot_be_written(name, place, said, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("held")
    module = importlib.import_module(f"scripts.{name}")
    assert module.main([*SCRIPTS[name], str(tmp_path / place)]) == 2
    told = capsys.readouterr().err
    assert f"{SCRIPTS[name][-1]} {tmp_path / place}" in told
    assert said in told


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere: no folder was closed")
def test_a_closed_folder(tmp_path, capsys):
    tmp_path.chmod(0o500)
    module = importlib.import_module("scripts.predict")
    assert module.main([*SCRIPTS["predict"], str(tmp_path / "x")]) == 2
    assert "cannot be written to" in capsys.readouterr().err
