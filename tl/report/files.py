"""Files that survive a crash: whole or not there, and line files that can be hurt in their last line only."""

from __future__ import annotations

import json
import math
import os
import pathlib
from typing import Any

import numpy as np

from tl.errors import InputError


def plain(value: Any) -> Any:
    """`value` as every JSON parser reads it: numpy and jax scalars become numbers, NaN and infinity null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    array = np.asarray(value)
    if array.ndim:
        return [plain(item) for item in array.tolist()]
    if array.dtype == bool:
        return bool(array)
    if np.issubdtype(array.dtype, np.integer):
        return int(array)
    number = float(array)
    return number if math.isfinite(number) else None


def check_place(path: pathlib.Path | None, flag: str) -> None:
    """InputError where no file `path`, named by `flag`, can be written; its folder is made. To be asked before work."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{flag} {path} is a folder: name a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{flag} {path}: its folder cannot be made ({error.strerror}): name another place.") from error
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{flag} {path}: its folder cannot be written to: name another place.")


def write_atomic(path: os.PathLike | str, data: str | bytes) -> pathlib.Path:
    """Write `path` as a whole: a reader or a crash sees the old file or the new one, never half of one."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_lines(path: os.PathLike | str) -> list[dict]:
    """The objects of a JSON-lines file, none when it is not there. A half-written last line is left out.

    Raises InputError naming file and line when any other line is no JSON object: no crash does that.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    objects = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            if not isinstance(item, dict):
                raise ValueError("not an object")
        except ValueError:
            if number == len(lines):  # no newline behind it: the writer died here
                break
            raise InputError(f"{path}, line {number} is not a JSON object: repair or remove that line.") from None
        objects.append(item)
    return objects


def read_rows(folder: os.PathLike | str) -> list[dict]:
    """The rows of metrics.jsonl of the run in `folder`, none when it has none yet, null where a value was not finite.

    Of a run made of stages those of all: a stage's steps count on from the last step of the one before it. Of a run
    that was turned around (reverse validation) those of its way there.
    """
    folder = pathlib.Path(folder)
    if (folder / "metrics.jsonl").exists():
        return read_lines(folder / "metrics.jsonl")
    numbers = sorted(int(path.name) for path in folder.glob("stages/*") if path.name.isdecimal())
    rows: list[dict] = []
    for part in [folder / "stages" / str(number) for number in numbers] or [folder / "forward"]:
        before = max((row["step"] for row in rows), default=0)
        rows += [{**row, "step": before + row["step"]} for row in (read_rows(part) if part.is_dir() else ())]
    return rows


def append_line(path: os.PathLike | str, item: dict) -> None:
    """Append one object as one line, in one write and on disk; a half-written last line is cut first."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend(path)
    line = (json.dumps(plain(item), allow_nan=False) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mend(path: pathlib.Path) -> None:
    """Make the file end at the end of a line, so that the next one does not run into a wound."""
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        whole, _, last = data.rpartition(b"\n")
        try:
            json.loads(last)
            write_atomic(path, data + b"\n")
        except ValueError:
            write_atomic(path, whole + b"\n" if whole else b"")
