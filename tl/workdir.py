"""A run's folder: it belongs to one config, is checked before any long work, and keeps the seconds spent on it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterable, Iterator

import jax

from tl import config as configs
from tl import hosts
from tl.config import Config
from tl.errors import InputError
from tl.report.files import write_atomic

TIMES = "time.json"  # {phase: the seconds in it, of all starts}


def check(folder: pathlib.Path, config: Config) -> None:
    """InputError where `folder` holds another config's run or cannot be written to."""
    held = folder / "config.json"
    differs = configs.difference(configs.from_json(held.read_text()), config) if held.is_file() else []
    if differs:
        raise InputError(
            f"{folder} holds a run of another config (it differs in {', '.join(differs)}): "
            "give another --workdir, or remove the folder."
        )
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(
            f"the workdir {folder} cannot be written to ({existing} is in the way): give another --workdir."
        )


def claim(folder: pathlib.Path, config: Config) -> None:
    """Make `folder` this config's run. All processes must call it, and see what process 0 writes."""
    check(folder, config)
    hosts.barrier("checked")  # before there is anything new to see
    text = configs.to_json(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            write_atomic(folder / "config.json", text)
    except OSError as error:
        raise InputError(
            f"the workdir {folder} cannot be written to ({error.strerror}): give another --workdir."
        ) from error
    hosts.barrier("claimed")
    held = folder / "config.json"
    if not hosts.all_true(held.is_file() and held.read_text() == text):
        raise InputError(
            f"not every process finds this config in the workdir {folder}: it must be a folder that all machines "
            "share, and all must be started with the same flags."
        )


def told(folder: pathlib.Path) -> float:
    """The seconds that all starts of the run in `folder` have taken, of its parts too; 0 for none.

    A finished run says them in its summary, one that is not in what `Spent` has kept.
    """
    if (folder / "summary.json").is_file():
        return float(json.loads((folder / "summary.json").read_text()).get("time/wall_s", 0))
    parts = {path.parent for pattern in ("*", "stages/*") for path in folder.glob(f"{pattern}/config.json")}
    return sum(_kept(folder).values()) + sum(map(told, parts))


def _kept(folder: pathlib.Path) -> dict[str, float]:
    return json.loads((folder / TIMES).read_text()) if (folder / TIMES).is_file() else {}


class Spent:
    """The seconds of a run by phase, counted from here on, and those of earlier starts, kept in `folder/time.json`.

    They are written by `keep`: at each checkpoint and wherever a start ends, by an error or an interruption too. Only a
    SIGKILL, or a machine that dies, loses the seconds since the last checkpoint. Of a run made of parts the file has
    what is not the parts' own.
    """

    def __init__(self, phase: str) -> None:
        self._folder: pathlib.Path | None = None
        self._seconds: dict[str, float] = {}
        self._phase, self._since = phase, time.perf_counter()

    def open(self, folder: pathlib.Path) -> None:
        """The folder is claimed: the seconds of earlier starts count, and those of this one can be kept."""
        self._folder = folder
        for phase, seconds in _kept(folder).items():
            self._add(phase, seconds)

    def enter(self, phase: str) -> None:
        """From here on seconds count for `phase`."""
        now = time.perf_counter()
        self._add(self._phase, now - self._since)
        self._phase, self._since = phase, now

    @property
    def seconds(self) -> dict[str, float]:
        """{phase: the seconds in it until now}, of all starts."""
        self.enter(self._phase)
        return dict(self._seconds)

    def keep(self) -> None:
        """Write what was spent until now; nothing before the folder is claimed."""
        if self._folder is not None and jax.process_index() == 0:
            write_atomic(self._folder / TIMES, json.dumps({k: round(v, 3) for k, v in self.seconds.items()}))

    @contextlib.contextmanager
    def part(self, folder: pathlib.Path) -> Iterator[None]:
        """Within, a part is at work in `folder`: the seconds that it tells of are not this run's own."""
        before = told(folder)
        self.enter(self._phase)
        own = self._seconds[self._phase]
        try:
            yield
        finally:
            within = self.seconds[self._phase] - own
            self._seconds[self._phase] = own + max(0.0, within - (told(folder) - before))
            self.keep()

    def total(self, parts: Iterable[pathlib.Path] = ()) -> float:
        """The seconds of all phases, starts and `parts`."""
        return round(sum(self.seconds.values()) + sum(map(told, parts)), 3)

    def _add(self, phase: str, seconds: float) -> None:
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
