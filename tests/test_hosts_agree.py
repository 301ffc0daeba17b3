"""Several processes as one run, on loopback: the same figures as one process."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import hosts_worker
import numpy as np
import pytest
import toy

from scripts import launch_local

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Two processes run every case; four, which take twice as long, the two ways of taking steps, and only if all is asked.
CASES = {1: tuple(hosts_worker.CASES), 2: tuple(hosts_worker.CASES), 4: ("finetune", "features") if toy.ALL else ()}


@pytest.fixture(scope="module")
def ends(host_environment, host_data, tmp_path_factory) -> Callable[[int, str], tuple[dict, dict]]:
    """(parameters, figures) of a case on four devices over 1, 2 or 4 processes; every set of processes starts once."""
    folders: dict[int, pathlib.Path | None] = {}

    def started(processes: int) -> pathlib.Path:
        folder = tmp_path_factory.mktemp(f"on{processes}")
        shutil.copy(host_data, folder)
        port, running = launch_local.free_port(), []
        try:
            for index in range(processes):
                arguments = [
                    str(ROOT / "tests" / "hosts_worker.py"),
                    str(folder),
                    str(port),
                    str(processes),
                    str(index),
                ]
                running.append(
                    subprocess.Popen(
                        [sys.executable, "-W", "error", *arguments, *CASES[processes]],
                        cwd=ROOT,
                        env={**host_environment, "JAX_NUM_CPU_DEVICES": str(4 // processes)},
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )
            patience = 180 + 60 * len(CASES[processes])  # only a process that hangs takes longer
            said = [process.communicate(timeout=patience)[0] for process in running]
        finally:
            for process in running:
                process.kill()
        assert [process.returncode for process in running] == [0] * processes, "\n".join(said)
        return folder

    def end(processes: int, name: str) -> tuple[dict, dict]:
        if processes not in folders:
            folders[processes] = None
            folders[processes] = started(processes)
        folder = folders[processes]
        assert folder, f"{processes} processes failed: the first test that needed them says why"
        with np.load(folder / f"{name}.npz") as arrays:
            return dict(arrays), json.loads((folder / f"{name}.json").read_text())

    return end


@pytest.mark.parametrize(("processes", "name"), [(n, name) for n in (2, 4) for name in CASES[n]])
def test_four_devices_over_any_processes_agree(ends, processes, name):
    (alone, figures), (together, same) = ends(1, name), ends(processes, name)
    assert alone.keys() == together.keys()
    for path, leaf in alone.items():
        assert leaf.dtype == np.float64
        np.testing.assert_allclose(together[path], leaf, rtol=1e-9, atol=1e-12, err_msg=path)
    assert same.pop("inputs") == figures.pop("inputs")
    # Triples lie on the device of one process alone: several take the same steps one by one.
    assert same.pop("bursts") == (figures.pop("bursts") and name not in ("transe", "distmult", "complex", "rotate"))
    assert same == pytest.approx(figures, rel=1e-9, abs=1e-12)


def test_frozen_maps_were_taken(ends):
    assert (ends(2, "last stage")[1]["inputs"], ends(2, "last stage")[1]["bursts"]) == ("map/stage2", False)
    assert (ends(2, "features")[1]["inputs"], ends(2, "features")[1]["bursts"]) == ("map/pooled", True)
