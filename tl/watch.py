"""What the loop keeps an eye on: the best evaluation so far, the speed, and the wish to stop."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from tl.metrics import lower_is_better

# A network that a score without labels may not choose: one that uses fewer than this share of the classes, or that is
# worse on the source than this share of the best so far.
LEAST_BALANCE, LEAST_SOURCE = 0.5, 0.9


class Choice:
    """The best evaluation by one metric, found by going through the rows of metrics.jsonl once.

    Metrics `score/...`, which judge the target without its labels, pass a row by that has collapsed: by its
    `score/balance`, or by `val/accuracy` beside the best one of all rows.
    """

    def __init__(self, metric: str, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self.metric, self.source = metric, -math.inf
        self.open: list[Mapping[str, Any]] = []  # the rows that may still turn out to be the best, in order
        for row in rows:
            self.see(row)

    @property
    def row(self) -> Mapping[str, Any]:
        """The best so far, of equals the first one; {} for none."""
        return max(self.open, key=self._score, default={})

    @property
    def steps(self) -> set[int]:
        """Of the rows that may still be chosen: their weights must be kept."""
        return {row["step"] for row in self.open}

    def see(self, row: Mapping[str, Any]) -> bool:
        """Whether `row` is the best so far."""
        if self.metric not in row:
            return False
        self.source = max(self.source, self._of_source(row))
        rows = [r for r in (*self.open, row) if self._score(r) > -math.inf and self._sound(r)]
        # A better source raises what is asked of all, so a lower score may win later by a better source of its own.
        self.open = [
            r
            for i, r in enumerate(rows)
            if not any(self._beats(other, r, first=j < i) for j, other in enumerate(rows) if j != i)
        ]
        return self.row is row

    def _beats(self, one: Mapping[str, Any], other: Mapping[str, Any], *, first: bool) -> bool:
        """Whether `other` can never be chosen beside `one`."""
        more, safer = (of(one) - of(other) for of in (self._score, self._of_source))
        return more >= 0 and safer >= 0 and (first or more > 0)

    def _score(self, row: Mapping[str, Any]) -> float:
        return _number(row[self.metric], -1 if lower_is_better(self.metric) else 1)

    def _of_source(self, row: Mapping[str, Any]) -> float:
        """What the guard looks at; without a guard the same for all."""
        return max(0.0, _number(row["val/accuracy"])) if self.metric.startswith("score/") else 0.0

    def _sound(self, row: Mapping[str, Any]) -> bool:
        if not self.metric.startswith("score/"):
            return True
        return self._of_source(row) >= LEAST_SOURCE * self.source and _number(row["score/balance"]) >= LEAST_BALANCE


def _number(value: Any, sign: int = 1) -> float:
    number = sign * float("nan" if value is None else value)
    return -math.inf if math.isnan(number) else number


class Patience:
    """Which evaluation is the best, from the rows of metrics.jsonl alone, and whether it is time to stop."""

    def __init__(self, metric: str, patience: int, rows: list[dict[str, Any]]) -> None:
        self.choice, self.patience, self.since = Choice(metric), patience, 0
        for row in rows:
            self.see(row)

    @property
    def over(self) -> bool:
        return bool(self.patience) and self.since >= self.patience

    def see(self, row: Mapping[str, Any]) -> None:
        if self.choice.metric in row:
            self.since = 0 if self.choice.see(row) else self.since + 1


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
