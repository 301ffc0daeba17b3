"""How far a run is: a live bar on a terminal, plain lines where the output is a file or a pipe."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

EVALUATIONS = ("val/", "test/")
PLAIN_SECONDS = 5.0  # between two plain lines; evaluations and the last step are always said
_PREFERRED = ("accuracy", "f1", "auc", "r2", "mae")


class Progress:
    """Shows title, step, epoch, loss, the last evaluation's metric, images/s, time left; a context manager.

    total_steps, start: the last step and the step the run begins or goes on at.
    metric: the evaluation shown ("val/accuracy"); by default the best known name among what `update` brings.
    quiet: nothing is printed, messages neither (the inner runs of a set).
    console, clock: for tests.
    """

    def __init__(
        self,
        total_steps: int,
        start: int = 0,
        steps_per_epoch: int = 0,
        title: str = "",
        quiet: bool = False,
        *,
        metric: str = "",
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._start, self._per_epoch = total_steps, start, steps_per_epoch
        self._title, self._quiet, self._metric, self._clock = title, quiet, metric, clock
        self._console = console or Console(highlight=False)
        self._step, self._values, self._speed = start, {}, math.nan
        self._first: tuple[int, float] | None = None
        self._said: tuple[int, float] | None = None
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, step: int, values: Mapping[str, Any], images_per_s: float = math.nan) -> None:
        """Take the values of `step` (after it is done). Values not given stay as they were last."""
        now = self._clock()
        self._step, self._speed = step, images_per_s
        self._values.update({key: value for key, value in values.items() if not isinstance(value, str)})
        # Timed from the first update on: what lies before it is start-up and compilation.
        self._first = self._first or (step, now)
        if self._quiet or self._live is not None:
            return
        evaluation = any(key.startswith(EVALUATIONS) for key in values)
        due = self._said is None or now - self._said[1] >= PLAIN_SECONDS
        last = step >= self._total and (self._said is None or self._said[0] != step)
        if evaluation or due or last:
            self._said = (step, now)
            self._print(self.line())

    def message(self, text: str) -> None:
        """Print a line of its own, above the bar where there is one."""
        if not self._quiet:
            self._print(text)

    def line(self) -> str:
        """One line: `step 120/600  epoch 3/12  loss 0.412  val/accuracy 0.931  812 images/s  0:42 left`."""
        parts = [f"step {self._step}/{self._total}", *self._facts(), self._left()]
        return "  ".join([self._title, *parts] if self._title else parts)

    def _facts(self) -> list[str]:
        facts = []
        if self._per_epoch:
            epochs = math.ceil(self._total / self._per_epoch)
            facts.append(f"epoch {min(max(math.ceil(self._step / self._per_epoch), 1), epochs)}/{epochs}")
        loss = next((self._values[key] for key in ("train/loss", "loss") if key in self._values), None)
        if loss is not None:
            facts.append(f"loss {float(loss):.3f}")
        metric = self._metric if self._metric in self._values else main_metric(self._values)
        if metric:
            facts.append(f"{metric} {float(self._values[metric]):.3f}")
        if math.isfinite(self._speed):
            facts.append(f"{self._speed:.0f} images/s")
        return facts

    def _left(self) -> str:
        if self._first is None or self._step <= self._first[0]:
            return "done" if self._step >= self._total else "-:-- left"
        seconds = (self._clock() - self._first[1]) / (self._step - self._first[0]) * (self._total - self._step)
        return f"{duration(seconds)} left" if self._step < self._total else "done"

    def _print(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)
        self._console.file.flush()

    def _render(self) -> Group:
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(self._title, style="bold"),
            ProgressBar(total=max(self._total, 1), completed=self._step, width=24),
            f"{self._step}/{self._total}",
            self._left(),
        )
        return Group(bar, Text("  ".join(self._facts()), style="dim"))


def main_metric(values: Mapping[str, Any], prefixes: Sequence[str] = EVALUATIONS) -> str:
    """The name of the evaluation that best says how a run does, by the order of `prefixes`; "" for none."""
    for prefix in prefixes:
        names = [key for key in values if key.startswith(prefix)]
        ranked = [key for wanted in _PREFERRED for key in names if key.rpartition("/")[2].startswith(wanted)]
        ranked += [key for key in names if not key.endswith("/loss")] + names
        if ranked:
            return ranked[0]
    return ""


def duration(seconds: float) -> str:
    """Seconds as `0:42`, `12:03` or `3:05:00`."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
