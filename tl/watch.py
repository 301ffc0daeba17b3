"""What the loop keeps an eye on: the best evaluation so far, the speed, and the wish to stop."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import jax

from tl.tasks import lower_is_better


class Patience:
    """Which evaluation is the best, from the rows of metrics.jsonl alone, and whether it is time to stop."""

    def __init__(self, metric: str, patience: int, rows: list[dict[str, Any]]) -> None:
        self.metric, self.patience = metric, patience
        self.best, self.since, self.improved = -math.inf, 0, False
        for row in rows:
            if metric in row:
                self.see(row)
        self.improved = False

    @property
    def over(self) -> bool:
        return bool(self.patience) and self.since >= self.patience

    def see(self, values: Mapping[str, Any]) -> float | None:
        """The evaluation's score, higher is better; None where nothing is selected on."""
        self.improved = False
        if not self.metric:
            return None
        score = float(values[self.metric]) * (-1 if lower_is_better(self.metric) else 1)
        if math.isnan(score):
            score = -math.inf
        self.improved = score > self.best
        self.best, self.since = max(score, self.best), 0 if self.improved else self.since + 1
        return score


class Clock:
    """Images per second of training alone: evaluations and the first, compiling step do not count."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.images, self.seconds = batch_size, 0, 0.0
        self.since: float | None = None

    def tick(self, scalars: Any, steps: int = 1) -> None:
        """`steps` steps have been handed to the device."""
        if self.since is None:
            jax.block_until_ready(scalars)
        else:
            self.images += self.batch_size * steps
            self.seconds += time.perf_counter() - self.since
        self.resume()

    def resume(self) -> None:
        """Start counting again behind something that is not training."""
        self.since = time.perf_counter()

    @property
    def rate(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0


class Interrupts:
    """The first Ctrl-C or SIGTERM asks for a save and a stop at the end of the step; the second ends at once.

    One of several processes passes the wish on, and stops where all have agreed to (see `hosts.stop_agreed`): there
    jax itself listens for SIGTERM, and a handler of ours would take its place.
    """

    def __enter__(self) -> Interrupts:
        self.stop, self._old = False, {}
        self._alone = jax.process_count() == 1
        for number in (signal.SIGINT, signal.SIGTERM) if self._alone else (signal.SIGINT,):
            try:
                self._old[number] = signal.signal(number, self._handle)
            except ValueError:  # not in the main thread: the caller handles its signals
                break
        return self

    def _handle(self, number: int, frame: Any) -> None:
        if self._alone:
            self.stop = True
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        for which, handler in self._old.items():
            signal.signal(which, handler)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
