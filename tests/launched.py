"""scripts/launch_local.py at work, as a context manager."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import toy

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Launched:
    """The toy fine-tuning over several processes; a context manager that leaves no process behind."""

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
