"""Every command of a config's docstring, which its method's page shows, begins on tiny stand-ins for what it names.

All that can be known before the first step is: data are opened, networks and methods made. That each method learns is
held by test_methods.py. CI alone does this (TL_TESTS=all).
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

import numpy as np
import pytest
from commands import commands
from test_docs_run import desk, prepared, run  # noqa: F401 (a fixture)

from tl import build, runs
from tl import config as configs

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = {
    path: found
    for path in sorted((ROOT / "configs").rglob("*.py"))
    if (found := [command for command in commands(path) if " main.py " in command and "tfds:" not in command])
}

# What a command names -> what stands there, beside what the documents' commands have.
NAMES = {
    r"npz:FILE": "npz:tens.npz",
    r"tsv:FILE": "tsv:reviews_train.tsv",
    r"conll:FILE": "conll:eng.train",
    r"folder:(NEW|OLD)": "npz:arrays.npz",
    r"folder:(FIRST|SECOND)": "folder:pictures",
    r",weights=file:(FOLDER|glove\S*)": "",
    r"(co_tuning|lwf)\.py:model=resnet50,data=folder:DIR": r"\1.py:data=npz:tens.npz",
    r"weights=run:runs/first": "weights=none",
}


def stood_in(command: str) -> str:
    if re.search(r"weights=run:W\b", command):  # that run knows two classes
        command = command.replace("npz:FILE", "npz:arrays.npz")
    for name, value in NAMES.items():
        command = re.sub(name, value, command)
    return command


def begun(chosen: Any, folder: pathlib.Path | str, **how: Any) -> dict[str, float]:
    """The first of all runs that a config asks for, up to its first step."""
    if runs.is_set(chosen):
        chosen = runs.members(chosen)[0][2]
    first = dict(chosen.stages[0]) if chosen.stages else {}
    first |= {"increment": 1} if chosen.increments else {}
    made = build.experiment(configs.merged(chosen, {"nested": 0, "stages": (), "then": "", **first}))
    assert made.streams or not made.steps
    return {}


@pytest.mark.skipif(os.environ.get("TL_TESTS") != "all", reason="TL_TESTS=all is not set: no command of a config began")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_config_begins(path, desk, capsys, request, monkeypatch):  # noqa: F811
    rng = np.random.default_rng(2)
    np.savez(desk / "tens.npz", x=rng.integers(0, 256, (400, 8, 8), np.uint8), y=np.arange(400) % 10)
    ready = [prepared(stood_in(command), path) for command in CONFIGS[path]]
    if any("TL_DATA" in command for command in CONFIGS[path] + ready):
        request.getfixturevalue("tl_data")
    if any("runs/text" in command for command in ready):
        run("python main.py --config configs/text.py:data=tsv:reviews_train.tsv --workdir runs/text")
    monkeypatch.setattr(build, "run", begun)
    failed = []
    for command in ready:
        try:
            run(command)
        except (Exception, SystemExit) as error:
            failed.append(f"{command}: {error!r}, {capsys.readouterr().err[-500:]}")
    assert not failed, "\n\n".join(failed)
