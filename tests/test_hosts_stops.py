"""Several processes as one run, on loopback: one stop for all, no end without a word, and on from there."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import time

import numpy as np
import pytest
import toy
from launched import Launched


def checkpoints(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir() if path.name.isdecimal())


def test_stopped_and_killed_runs_end_like_an_uninterrupted_one(host_environment, host_data, tmp_path):
    """SIGTERM to one of two, then SIGKILL to one of two, then on with two processes, and with one."""
    whole, folder = tmp_path / "whole", tmp_path / "broken"
    with Launched(host_environment, host_data, whole) as launched:
        assert launched.end() == 0, launched.said
    assert launched.said.count("test: accuracy") == 1  # host 0 alone speaks

    with Launched(host_environment, host_data, folder) as launched:
        while not (folder / "config.json").exists():
            assert launched.process.poll() is None, launched.said
            time.sleep(0.01)
        os.kill(launched.pid(1), signal.SIGTERM)
        assert launched.end() == 130, launched.said
    stops = re.findall(r"stopped at step (\d+) of 40, saved: run the same command again", launched.said)
    assert len(stops) == 2, launched.said
    assert stops[0] == stops[1] == checkpoints(folder)[-1]
    assert "process 0 ended with code 130, process 1 ended with code 130" in launched.said

    with Launched(host_environment, host_data, folder) as launched:
        launched.await_row()
        os.kill(launched.pid(1), signal.SIGKILL)
        began = time.monotonic()
        assert launched.end() == 1, launched.said
        assert time.monotonic() - began < 30
    assert f"resumed from step {stops[0]}" in launched.said
    assert re.search(r"\nerror: another process was lost \(.*\): run the same command again", launched.said)
    assert "process 0 ended with code 1, process 1 was ended by SIGKILL; a process was lost" in launched.said
    assert "Traceback" not in launched.said

    half = folder / "checkpoints" / f"{int(checkpoints(folder)[-1]) + 1}.orbax-checkpoint-tmp"
    half.mkdir()  # as a save leaves it that was cut short
    shutil.copytree(folder, tmp_path / "one")
    for place, processes in ((folder, 2), (tmp_path / "one", 1))[: 2 if toy.ALL else 1]:
        with Launched(host_environment, host_data, place, processes) as launched:
            assert launched.end() == 0, launched.said
        assert "resumed from step" in launched.said
    wanted, two = toy.leaves_of(whole), toy.leaves_of(folder)
    assert all(two[path].tobytes() == leaf.tobytes() for path, leaf in wanted.items())
    figures = [json.loads((place / "summary.json").read_text()) for place in (whole, folder)]
    for name in ("test/accuracy", "test/loss", "val/loss"):
        assert figures[0][name] == figures[1][name]
    if toy.ALL:
        one, alone = toy.leaves_of(tmp_path / "one"), json.loads((tmp_path / "one" / "summary.json").read_text())
        for path, leaf in wanted.items():
            np.testing.assert_allclose(one[path], leaf, rtol=1e-9, atol=1e-12, err_msg=path)
        for name in ("test/accuracy", "test/loss", "val/loss"):
            assert figures[0][name] == pytest.approx(alone[name], rel=1e-9)


def test_ctrl_c_at_the_launcher_saves(host_environment, host_data, tmp_path):
    folder = tmp_path / "w"
    with Launched(host_environment, host_data, folder) as launched:
        launched.await_row()
        launched.process.send_signal(signal.SIGINT)
        assert launched.end() == 130, launched.said
    stops = re.findall(r"stopped at step (\d+) of 40, saved", launched.said)
    assert stops == [checkpoints(folder)[-1]] * 2, launched.said
