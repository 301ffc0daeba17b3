"""Many processes as one run: who they are, when they wait for each other, how they stop and how they end."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from tl import lifeline
from tl.errors import InputError

# Seconds without a sign of life before a process counts as lost. The default of 100 lets the others burn their machines
# for minutes; below 10 a machine that swaps, or a network that switches over, would count as dead.
HEARTBEAT = 20
WAIT = 300  # seconds for all to come: schedulers start the pods of one job minutes apart
LEAVE = 10  # seconds to wait for the others at the end of a process that may have failed alone
SAY = 2  # seconds for a process to say by itself, with the cause, that another is lost

# What jax, its transports and its coordinator say when another process is gone.
_LOST = (
    "gloo",
    "coordination",
    "connection closed by peer",
    "connection reset by peer",
    "heartbeat",
    "socket closed",
    "nccl",
)
_calls = itertools.count(1)
_leaving = threading.Event()
_last_word = threading.RLock()  # of the threads that end this process one speaks


def join(coordinator: str = "", processes: int | None = None, process: int | None = None, *, wait: int = WAIT) -> None:
    """Become process number `process` of `processes` that meet at `coordinator`, "HOST:PORT" of process 0.

    Without arguments the environment decides, see `found`; where it names no other process nothing is initialised and
    nobody is waited for. Call it before the first array. Raises InputError for arguments that are incomplete or
    contradictory and for a port that is taken; ends the process with code 2 and one sentence when the others have not
    come after `wait` seconds, as the runtime itself would abort.
    """
    given = bool(coordinator) or processes is not None or process is not None
    chosen = checked(coordinator, processes, process) if given else found(os.environ)
    if chosen is None or chosen["num_processes"] == 1:
        return
    if chosen["process_id"] == 0:
        check_port(chosen["coordinator_address"])
    where = chosen["coordinator_address"] or "the coordinator that the cluster names"
    who = "this process" if chosen["process_id"] is None else f"process {chosen['process_id']}"
    said = (
        f"error: {who} waited {wait} s at {where} and not all of the {chosen['num_processes'] or ''} processes came: "
        "check --coordinator, --processes and the network, and that every process was started."
    )
    patience = threading.Timer(wait, _end, (2, said))
    patience.daemon = True
    patience.start()
    try:
        jax.distributed.initialize(
            **chosen, heartbeat_timeout_seconds=HEARTBEAT, initialization_timeout=wait + HEARTBEAT
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"cannot join the other processes at {where} ({_first_line(error)}): give another free port, or "
            "all of --coordinator HOST:PORT, --processes N and --process I."
        ) from error
    finally:
        patience.cancel()
    try:
        lifeline.hold(_gone)
    except (RuntimeError, ValueError, OSError) as error:
        said = f"warning: no lifeline to process 0 ({_first_line(error)}): a process that is lost is noticed later."
        print(said, file=sys.stderr)


def check_port(coordinator: str) -> None:
    """Raises InputError where process 0 cannot listen: the runtime may crash there instead of saying so."""
    port = int(coordinator.rpartition(":")[2])
    try:
        lifeline.listen(port).close()
    except OSError as error:
        raise InputError(
            f"cannot join the other processes at {coordinator} ({error.strerror}): give another free port."
        ) from error


def checked(coordinator: str, processes: int | None, process: int | None) -> dict[str, Any]:
    """The flags as arguments of jax.distributed.initialize. Raises InputError where they are no whole."""
    if coordinator == "auto" and processes is None and process is None:
        return {"coordinator_address": None, "num_processes": None, "process_id": None}
    if not coordinator or processes is None or process is None:
        flags = {"--coordinator": coordinator or None, "--processes": processes, "--process": process}
        missing = " and ".join(flag for flag, value in flags.items() if value is None)
        raise InputError(
            f"{missing} missing: several processes need all of --coordinator HOST:PORT, --processes N and --process I "
            "(or --coordinator auto alone, where jax knows the cluster)."
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"--coordinator {coordinator} is not HOST:PORT: give process 0's address and a free port of it."
        )
    if processes < 1 or not 0 <= process < processes:
        raise InputError(
            f"--process {process} of --processes {processes}: processes are numbered from 0 to --processes - 1."
        )
    # jax would still look for a cluster, to choose devices; whoever gives flags has decided.
    return {
        "coordinator_address": coordinator,
        "num_processes": processes,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    }


def found(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What the environment says of a job of several processes, None where there is one alone.

    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (scripts/launch_jobset.yaml sets them), the steps of
    SLURM's srun, TPU pods on Kubernetes. jax finds the rest; TPU pods without Kubernetes are asked for by
    `--coordinator auto`, since only a request to Google's metadata server would tell.
    """
    count = environment.get("JAX_NUM_PROCESSES", "")
    index = environment.get("JAX_PROCESS_ID", "")
    if count or index:
        if not (count.isdecimal() and index.isdecimal()):
            raise InputError(f"JAX_NUM_PROCESSES='{count}' and JAX_PROCESS_ID='{index}': set both to whole numbers.")
        return checked(environment.get("JAX_COORDINATOR_ADDRESS", ""), int(count), int(index))
    unset: dict[str, Any] = {"coordinator_address": None, "num_processes": None, "process_id": None}
    # Not SLURM_NTASKS: it is set in the batch script too, where python runs once, outside of srun.
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "SLURM_STEP_NODELIST" in environment and tasks.isdecimal() and int(tasks) > 1:
        return unset | {"num_processes": int(tasks)}
    workers = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or ""
    slices = environment.get("MEGASCALE_NUM_SLICES", "1")
    return unset if len(workers.split(",")) > 1 or slices != "1" else None


def barrier(name: str) -> None:
    """Nobody goes on before all are here: files that host 0 wrote are there behind it."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_true(value: bool) -> bool:
    """Whether `value` holds on every process; all must ask."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.process_allgather(np.asarray(value)).all())


def stop_agreed() -> bool:
    """Whether all stop here since one of them got SIGTERM; all must ask at the same places, once a step.

    Between the questions it costs nothing: jax carries the wish, and picks the first place that nobody has passed.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(next(_calls))


def fail(error: Exception) -> NoReturn:
    """The end of a process by an unforeseen error: one sentence where another process was lost, else the traceback.

    A single process raises the error again. One of many ends at once: the others, and its own threads, may wait for
    each other for minutes.
    """
    if not jax.distributed.is_initialized():
        raise error
    _last_word.acquire()
    if lost(error):
        _end_without(_first_line(error))
    traceback.print_exception(error)
    _end(1, f"error: process {jax.process_index()} failed, and with it the others.")


def lost(error: BaseException | None) -> bool:
    """Whether `error`, or what it came from, says that another process is gone."""
    while error is not None:
        if any(sign in str(error).lower() for sign in _LOST):
            return True
        error = error.__cause__ or error.__context__
    return False


def leave(code: int) -> NoReturn:
    """End this process with `code`, together with the others where they come, else without them."""
    _leaving.set()
    if jax.distributed.is_initialized():
        together = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        together.start()
        together.join(LEAVE)
        if together.is_alive():
            if code == 0:
                lifeline.part()
            _end(code)
    sys.exit(code)


def _gone(process: int) -> None:
    """Another process is gone: unless this one is about to leave, or to say so with the cause, it ends here.

    Whoever loses process 0 speaks at once, since the runtime is about to abort it.
    """
    if not _leaving.wait(SAY if process else 0):
        _end_without(f"process {process} closed its connection")


def _end_without(cause: str) -> NoReturn:
    _end(1, f"error: another process was lost ({cause}): run the same command again to go on from the checkpoint.")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _end(code: int, said: str = "") -> NoReturn:
    _last_word.acquire()
    if said:
        print(said, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
