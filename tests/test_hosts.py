"""Who a process is and who the others are: flags, the environment, joining, hearing of a lost one, launchers."""

from __future__ import annotations

import pathlib
import re
import socket
import subprocess
import sys

import pytest
import yaml

import main
from scripts import launch_local
from tl import hosts
from tl.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]


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


def test_a_coordinator_that_is_not_there_is_one_sentence(host_environment):
    ended = joining(host_environment, launch_local.free_port(), 1)
    assert ended.returncode == 2
    assert re.match(
        r"error: process 1 waited 2 s at 127.0.0.1:\d+ and not all of the 2 processes came: .*", ended.stderr
    )
    assert len(ended.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_one_sentence(host_environment):
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        ended = joining(host_environment, taken.getsockname()[1], 0)
    assert "InputError: cannot join the other processes at 127.0.0.1:" in ended.stderr
    assert "give another free port" in ended.stderr


def test_a_process_that_waits_for_nothing_of_the_other_hears_that_it_is_lost(host_environment):
    """No exchange of arrays fails here, and the runtime would say nothing before its heartbeat's time."""
    port = launch_local.free_port()
    join = f"import sys, time; from tl import hosts; hosts.join('127.0.0.1:{port}', 2, int(sys.argv[1]))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", f"{join}; print('joined', flush=True); time.sleep(300)", str(index)],
            env=host_environment,
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
