"""python scripts/launch_local.py --processes 2 --devices 2 -- ARGUMENTS OF main.py

Several processes of main.py on this machine, as if each were a machine of its own: to try a run out, or to test it.
Ctrl-C and SIGTERM go on to all of them, once: they save and stop. When one ends badly the others are given twenty
seconds, then ended. Returns 0, or the first code that is not.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO

MAIN = pathlib.Path(__file__).resolve().parents[1] / "main.py"
GRACE = 20.0  # seconds for the others to say what happened, once one has ended; on a busy machine they take some


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(arguments: list[str], index: int, count: int, port: int, devices: int) -> subprocess.Popen:
    """One process of main.py; with `devices` it gets that many CPU devices, else what the machine has."""
    flags = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count), "--process", str(index)]
    fake = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)} if devices else {}
    return subprocess.Popen(
        [sys.executable, "-u", str(MAIN), *arguments, *flags],
        env={**os.environ, **fake},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # the terminal's Ctrl-C reaches this script alone, which passes it on
    )


def show(lines: IO[str], prefix: str) -> None:
    with lines:
        for line in lines:
            print(f"{prefix}{line}", end="", flush=True)


def ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def wait(processes: list[subprocess.Popen]) -> list[int]:
    """Until all have ended: the codes. Signals are passed on, a second one ends all at once."""
    heard: list[int] = []

    def forward(number: int, _: object) -> None:
        heard.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number if len(heard) == 1 else signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    first: float | None = None
    while any(process.poll() is None for process in processes):
        if first is None and any(process.poll() for process in processes):
            first = time.monotonic()
        if first is not None and time.monotonic() - first > GRACE:
            for process in processes:
                process.kill()
        time.sleep(0.05)
    return [process.wait() for process in processes]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, default=0, help="CPU devices of each process; 0: as the machine has")
    parser.add_argument("arguments", nargs="*", help="of main.py, behind --")
    flags = parser.parse_args(arguments)
    port = free_port()
    processes: list[subprocess.Popen] = []
    try:
        for index in range(flags.processes):
            processes.append(start(flags.arguments, index, flags.processes, port, flags.devices))
            print(f"launch_local: process {index} has pid {processes[-1].pid}", flush=True)
        readers = [
            threading.Thread(target=show, args=(process.stdout, f"[{index}] " if index else ""))
            for index, process in enumerate(processes)
        ]
        for reader in readers:
            reader.start()
        codes = wait(processes)
        for reader in readers:
            reader.join()
    finally:
        for process in processes:
            process.kill()
    if not any(codes):
        return 0
    ended = ", ".join(f"process {index} {ending(code)}" for index, code in enumerate(codes))
    lost = any(code < 0 for code in codes)
    again = "; a process was lost: run the same command again to go on from the last checkpoint" if lost else ""
    print(f"launch_local: {ended}{again}.", flush=True)
    return next((code for code in codes if code > 0), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
