"""Several processes as one run, on loopback: the same figures, one stop for all, and no end without a word."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import hosts_worker
import numpy as np
import pytest
import toy
import yaml

import main
from scripts import launch_local
from tl import hosts
from tl.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Two processes run every case, and so every method; four, which take twice as long, the two ways of taking steps.
CASES = {1: tuple(hosts_worker.CASES), 2: tuple(hosts_worker.CASES), 4: ("finetune", "features")}


@pytest.fixture(scope="module")
def environment(request) -> dict[str, str]:
    """Of every process: float64, and compiled programs kept from one session to the next."""
    flags = {"TL_CACHE": str(request.config.cache.mkdir("compiled")), "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, **flags, "PYTHONPATH": path, "XLA_FLAGS": "--xla_backend_optimization_level=0"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """Images of four brightnesses."""
    rng, arrays = np.random.default_rng(0), {}
    for split, n in (("train", 40), ("val", 24), ("test", 24)):
        labels = np.arange(n) % 4
        arrays[f"y_{split}"] = labels
        arrays[f"x_{split}"] = rng.normal(60 + 40 * labels[:, None, None], 40, (n, 8, 8)).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path


@pytest.fixture(scope="module")
def ends(environment, data, tmp_path_factory) -> Callable[[int, str], tuple[dict, dict]]:
    """(parameters, figures) of a case on four devices over 1, 2 or 4 processes; every set of processes starts once."""
    folders: dict[int, pathlib.Path] = {}

    def started(processes: int) -> pathlib.Path:
        folder = tmp_path_factory.mktemp(f"on{processes}")
        shutil.copy(data, folder)
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
                        env={**environment, "JAX_NUM_CPU_DEVICES": str(4 // processes)},
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )
            said = [process.communicate(timeout=300)[0] for process in running]
        finally:
            for process in running:
                process.kill()
        assert [process.returncode for process in running] == [0] * processes, "\n".join(said)
        return folder

    def end(processes: int, name: str) -> tuple[dict, dict]:
        if processes not in folders:
            folders[processes] = started(processes)
        with np.load(folders[processes] / f"{name}.npz") as arrays:
            return dict(arrays), json.loads((folders[processes] / f"{name}.json").read_text())

    return end


@pytest.mark.parametrize(("processes", "name"), [(n, name) for n in (2, 4) for name in CASES[n]])
def test_four_devices_over_any_processes_agree(ends, processes, name):
    (alone, figures), (together, same) = ends(1, name), ends(processes, name)
    assert alone.keys() == together.keys()
    for path, leaf in alone.items():
        assert leaf.dtype == np.float64
        np.testing.assert_allclose(together[path], leaf, rtol=1e-9, atol=1e-12, err_msg=path)
    assert (same.pop("inputs"), same.pop("bursts")) == (figures.pop("inputs"), figures.pop("bursts"))
    assert same == pytest.approx(figures, rel=1e-9, abs=1e-12)


def test_frozen_maps_were_taken(ends):
    assert (ends(2, "last stage")[1]["inputs"], ends(2, "last stage")[1]["bursts"]) == ("map/stage2", False)
    assert (ends(2, "features")[1]["inputs"], ends(2, "features")[1]["bursts"]) == ("map/pooled", True)


class Launched:
    """scripts/launch_local.py at work on the toy fine-tuning; a context manager that leaves no process behind."""

    def __init__(self, environment: dict[str, str], data: pathlib.Path, folder: pathlib.Path, processes: int = 2):
        groups = (("head", {}), ("backbone/stage3", {}), (".*", None))
        settings = {"data": f"npz:{data}", "dtype": "float64", "groups": groups, "ema": 0.9, "labels_per_class": 0}
        settings |= {"steps": 40, "eval_every": 10, "save_every": 10, "log_every": 1}
        launcher = [str(ROOT / "scripts" / "launch_local.py"), "--processes", str(processes)]
        run = ["--config", "configs/finetune.py", "--workdir", str(folder), *toy.arguments(**settings)]
        self.rows = folder / "metrics.jsonl"
        self.process = subprocess.Popen(
            [sys.executable, *launcher, "--devices", str(4 // processes), "--", *run],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.said += line

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in map(int, re.findall(r"has pid (\d+)", self.said)) if self.process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def pid(self, process: int) -> int:
        found = re.search(rf"process {process} has pid (\d+)", self.said)
        assert found, self.said
        return int(found[1])

    def await_row(self) -> None:
        """Until a row is written that was not there before."""
        before = self.rows.stat().st_size if self.rows.exists() else 0
        while not self.rows.exists() or self.rows.stat().st_size <= before:
            assert self.process.poll() is None, self.said
            time.sleep(0.01)

    def end(self) -> int:
        code = self.process.wait(timeout=120)
        self.reader.join()
        return code


def checkpoints(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir() if path.name.isdecimal())


def test_stopped_and_killed_runs_end_like_an_uninterrupted_one(environment, data, tmp_path):
    """SIGTERM to one of two, then SIGKILL to one of two, then on with two processes, and with one."""
    whole, folder = tmp_path / "whole", tmp_path / "broken"
    with Launched(environment, data, whole) as launched:
        assert launched.end() == 0, launched.said
    assert launched.said.count("test: accuracy") == 1  # host 0 alone speaks

    with Launched(environment, data, folder) as launched:
        while not (folder / "config.json").exists():
            assert launched.process.poll() is None, launched.said
            time.sleep(0.01)
        os.kill(launched.pid(1), signal.SIGTERM)
        assert launched.end() == 130, launched.said
    stops = re.findall(r"stopped at step (\d+) of 40, saved: run the same command again", launched.said)
    assert len(stops) == 2, launched.said
    assert stops[0] == stops[1] == checkpoints(folder)[-1]
    assert "process 0 ended with code 130, process 1 ended with code 130" in launched.said

    with Launched(environment, data, folder) as launched:
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
    for place, processes in ((folder, 2), (tmp_path / "one", 1)):
        with Launched(environment, data, place, processes) as launched:
            assert launched.end() == 0, launched.said
        assert "resumed from step" in launched.said
    wanted, two, one = (toy.leaves_of(place) for place in (whole, folder, tmp_path / "one"))
    assert all(two[path].tobytes() == leaf.tobytes() for path, leaf in wanted.items())
    for path, leaf in wanted.items():
        np.testing.assert_allclose(one[path], leaf, rtol=1e-9, atol=1e-12, err_msg=path)
    figures = [json.loads((place / "summary.json").read_text()) for place in (whole, folder, tmp_path / "one")]
    for name in ("test/accuracy", "test/loss", "val/loss"):
        assert figures[0][name] == figures[1][name] == pytest.approx(figures[2][name], rel=1e-9)


def test_ctrl_c_at_the_launcher_saves(environment, data, tmp_path):
    folder = tmp_path / "w"
    with Launched(environment, data, folder) as launched:
        launched.await_row()
        launched.process.send_signal(signal.SIGINT)
        assert launched.end() == 130, launched.said
    stops = re.findall(r"stopped at step (\d+) of 40, saved", launched.said)
    assert stops == [checkpoints(folder)[-1]] * 2, launched.said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--processes", "2"], "--coordinator and --process missing"),
        (["--coordinator", "10.0.0.1:99", "--process", "0"], "--processes missing"),
        (["--coordinator", "10.0.0.1", "--processes", "2", "--process", "0"], "10.0.0.1 is not HOST:PORT"),
        (["--coordinator", "here:70000", "--processes", "2", "--process", "0"], "here:70000 is not HOST:PORT"),
        (["--coordinator", "here:99", "--processes", "2", "--process", "2"], "--process 2 of --processes 2"),
        (["--coordinator", "auto", "--process", "2"], "--processes missing"),
    ],
)
def test_bad_flags_are_one_sentence(capsys, tmp_path, flags, said):
    assert main.main(["--workdir", str(tmp_path / "w"), *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert said in error
    assert "\n" not in error
    assert not (tmp_path / "w").exists()


def test_the_environment_names_several_processes_or_none():
    slurm = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    auto = {"coordinator_address": None, "num_processes": None, "process_id": None}
    assert hosts.found({}) is None
    assert hosts.found(slurm) is None, "the batch script itself, outside of srun"
    step = {**slurm, "SLURM_STEP_NODELIST": "n[1-2]"}
    assert hosts.found({**step, "SLURM_STEP_NUM_TASKS": "4"}) == {**auto, "num_processes": 4}
    assert hosts.found({**step, "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert hosts.found({"TPU_WORKER_HOSTNAMES": "localhost"}) is None
    assert hosts.found({"TPU_WORKER_HOSTNAMES": "a,b"}) == auto
    job = {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
    explicit = {"coordinator_address": "h:1", "num_processes": 2, "process_id": 1}
    assert hosts.found(job) == {**explicit, "cluster_detection_method": "deactivate"}
    with pytest.raises(InputError, match="JAX_PROCESS_ID=''"):
        hosts.found({"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2"})
    with pytest.raises(InputError, match="--coordinator missing"):
        hosts.found({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"})


def joining(environment: dict[str, str], port: int, process: int) -> subprocess.CompletedProcess:
    code = f"from tl import hosts; hosts.join('127.0.0.1:{port}', 2, {process}, wait=2)"
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)


def test_a_coordinator_that_is_not_there_is_one_sentence(environment):
    ended = joining(environment, launch_local.free_port(), 1)
    assert ended.returncode == 2
    assert re.match(
        r"error: process 1 waited 2 s at 127.0.0.1:\d+ and not all of the 2 processes came: .*", ended.stderr
    )
    assert len(ended.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_one_sentence(environment):
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        ended = joining(environment, taken.getsockname()[1], 0)
    assert "InputError: cannot join the other processes at 127.0.0.1:" in ended.stderr
    assert "give another free port" in ended.stderr


def test_a_process_that_waits_for_nothing_of_the_other_hears_that_it_is_lost(environment):
    """No exchange of arrays fails here, and the runtime would say nothing before its heartbeat's time."""
    port = launch_local.free_port()
    join = f"import sys, time; from tl import hosts; hosts.join('127.0.0.1:{port}', 2, int(sys.argv[1]))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", f"{join}; print('joined', flush=True); time.sleep(300)", str(index)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "joined\n"
        processes[1].kill()
        _, said = processes[0].communicate(timeout=60)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[0].returncode == 1
    cause = "process 1 closed its connection"
    assert (
        said == f"error: another process was lost ({cause}): run the same command again to go on from the checkpoint.\n"
    )


def test_an_error_names_a_lost_process_by_its_cause():
    error = RuntimeError("in the step")
    error.__cause__ = ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")
    assert hosts.lost(error)
    assert not hosts.lost(ValueError("shapes do not match"))


@pytest.mark.parametrize("name", ["launch_slurm.sh", "launch_tpu_pod.sh"])
def test_shell_launchers_parse(name):
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / name)], check=True)


def test_launchers_use_flags_and_variables_that_exist():
    known = set(re.findall(r'"(--\w+)"', (ROOT / "main.py").read_text()))
    commands = []
    for name in ("launch_slurm.sh", "launch_tpu_pod.sh", "launch_jobset.yaml"):
        text = (ROOT / "scripts" / name).read_text().replace("\\\n", " ")
        commands += re.findall(r"main\.py ([^\n]*)", text)
    used = {flag for command in commands for flag in re.findall(r"(--[a-z]\w*)(?=[ =\"']|$)", command)}
    assert len(commands) >= 3
    assert "--config" in used
    assert used <= known
    (jobset,) = yaml.safe_load_all((ROOT / "scripts" / "launch_jobset.yaml").read_text())
    assert jobset["kind"] == "JobSet"
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    variables = {v["name"]: v.get("value") for v in job["template"]["spec"]["containers"][0]["env"]}
    assert {"JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"} <= variables.keys()
    assert int(variables["JAX_NUM_PROCESSES"]) == job["completions"] == job["parallelism"]
