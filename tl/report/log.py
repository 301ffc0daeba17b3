"""The rows of a run: `metrics.jsonl` for programs, TensorBoard for eyes, trackers; resuming cuts the first two."""

from __future__ import annotations

import json
import logging
import math
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tl.report.files import plain, read_lines, write_atomic
from tl.report.tracking import Tracker


class Log:
    """Appends rows `{"step": N, key: value, ...}` to `folder/metrics.jsonl` and, for TensorBoard, `tb/`.

    Values are scalars (numpy and jax scalars too) or strings. JSON has neither NaN nor infinity: both are
    written as null and come back from `rows()` as NaN. TensorBoard gets them as they are; keys are its tags.
    """

    def __init__(
        self,
        folder: os.PathLike | str,
        *,
        resume_step: int | None = None,
        write: bool = True,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        """Open the log of a run that goes on at `resume_step`, or of one that begins (None: old rows go).

        Rows later than `resume_step` and a half-written last line are cut, the file is replaced as a whole.
        write: False on all processes but the first; they read the old rows, keep their own in memory and write nothing.
        trackers get every row too, and are closed with the log.
        """
        self._folder = pathlib.Path(folder)
        self._resume_step = resume_step
        self._trackers = trackers
        self._rows: list[dict[str, Any]] = []
        self._file = self._board = None
        path = self._folder / "metrics.jsonl"
        if resume_step is not None:
            self._rows = [row for row in map(_nan, read_lines(path)) if row["step"] <= resume_step]
        if not write:
            return
        write_atomic(path, "".join(_line(row) for row in self._rows))
        self._file = path.open("a", encoding="utf-8")

    def row(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one row; it is on disk and in TensorBoard's file when this returns."""
        row = _nan(plain({"step": int(step), **values}))
        self._rows.append(row)
        if self._file is None:
            return
        self._file.write(_line(row))
        self._file.flush()
        numbers = {key: float(value) for key, value in values.items() if isinstance(row[key], int | float)}
        board = self._tensorboard()
        for key, value in numbers.items():
            board.add_scalar(key, value, int(step))
        board.flush()
        for tracker in self._trackers:
            tracker.row(int(step), numbers)

    def rows(self) -> list[dict[str, Any]]:
        """All rows from the run's first step on, NaN where a value was not finite."""
        return [dict(row) for row in self._rows]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """What the run ended with, for those who keep more than rows."""
        for tracker in self._trackers:
            tracker.finish(summary, self._folder / "report.html")

    def close(self, *, failed: bool = False) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()
        self._file = self._board = None
        for tracker in self._trackers:
            tracker.close(failed)
        self._trackers = ()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def _tensorboard(self) -> Any:
        """The event writer, made at the first row, as its import takes a second."""
        if self._board is None:
            import tensorboardX

            # It says once per value that a NaN is a NaN; the loop says it once, by name.
            logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
            first = 0 if self._resume_step is None else self._resume_step + 1
            # Its file names count seconds: a run taken up again within one would overwrite the old file.
            suffix = f".{time.time_ns()}"
            self._board = tensorboardX.SummaryWriter(str(self._folder / "tb"), purge_step=first, filename_suffix=suffix)
        return self._board


def _line(row: dict[str, Any]) -> str:
    return json.dumps(plain(row), allow_nan=False) + "\n"


def _nan(row: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in row.items()}
