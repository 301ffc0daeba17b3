"""Published tensors -> this project's names, and a strict merge into the network that wants them.

Flat trees have keys such as "params/backbone/stem/conv/kernel", "stats/backbone/stem/bn/mean".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tl import errors, models
from tl.models.names import Row

Flat = dict[str, np.ndarray]


def convert(tensors: Mapping[str, np.ndarray], model_name: str, **model_args: Any) -> Flat:
    """Tensors under the names of a published file -> flat tree of float32, through the family's name table.

    Raises one InputError with all tensors that no row of the table matches and all leaves claimed twice.
    """
    rows: list[Row] = models.family(model_name).names(**models.arguments(model_name, **model_args))
    patterns = {pattern: re.compile(pattern) for pattern, _, _ in rows}
    flat: Flat = {}
    origin: dict[str, str] = {}
    strange, clashes = [], []
    for name, tensor in tensors.items():
        found = [(match, row) for row in rows if (match := patterns[row[0]].fullmatch(name))]
        if len(found) > 1:
            raise AssertionError(f"the name table of {model_name} has {len(found)} rows for {name}")
        if not found:
            strange.append(f"{name} {np.shape(tensor)}")
            continue
        match, (_, target, transform) = found[0]
        if target is None:
            continue
        key = target(match) if callable(target) else match.expand(target)
        if key in origin:
            clashes.append(f"{key} by {origin[key]} and {name}")
        origin[key] = name
        try:
            flat[key] = np.ascontiguousarray(transform(np.asarray(tensor)), np.float32)
        except ValueError:  # axes that the transform cannot move
            strange.append(f"{name} {np.shape(tensor)}")
    if strange or clashes:
        wanted = [pattern.replace("\\", "") for pattern, _, _ in rows]
        raise errors.InputError(
            f"these weights are not those of {model_name}: "
            + _listed("tensors without a place or of a strange shape", strange)
            + _listed("leaves that two tensors claim", clashes)
            + f"known tensors are called {_short(wanted)}"
        )
    return flat


def merge(wanted: Mapping[str, tuple[int, ...]], loaded: Flat, *, head: str = "auto") -> Flat:
    """The leaves of `loaded` that go into a network whose leaves have the shapes `wanted`.

    The backbone must be filled leaf for leaf and nothing may be left over. The heads, `head` or one `head_TASK` each:
    "auto" keeps one if all its leaves fit and leaves it out otherwise, "keep" demands all, "replace" drops them.
    Raises one InputError that lists both sides.
    """
    if head not in ("auto", "keep", "replace"):
        raise errors.unknown("treatment of the head", head, ("auto", "keep", "replace"))
    wanted = {key: tuple(shape) for key, shape in wanted.items()}
    shapes = {key: value.shape for key, value in loaded.items()}
    required = {key for key in wanted if _part(key) == "backbone"}
    for part in {_part(key) for key in (*wanted, *shapes) if _is_head(key)}:
        own, there = ({k: shape for k, shape in of.items() if _part(k) == part} for of in (wanted, shapes))
        if head == "keep" or (head == "auto" and own == there):
            required |= own.keys()
        else:
            shapes = {key: shape for key, shape in shapes.items() if key not in there}
    unfilled = [f"{key} {wanted[key]}" for key in required if key not in shapes]
    unused = [f"{key} {shapes[key]}" for key in shapes if key not in wanted]
    other = [
        f"{key} is {shapes[key]} in the weights and {wanted[key]} here"
        for key in shapes
        if key in wanted and shapes[key] != wanted[key]
    ]
    if unfilled or unused or other:
        raise errors.InputError(
            "the weights do not fit the network: "
            + _listed("other shapes", other)
            + _listed("not filled", unfilled)
            + _listed("not used", unused)
            + "choose the model that the weights were made for"
        )
    return {key: loaded[key] for key in shapes}


def _part(key: str) -> str:
    """'params/backbone/stem/conv/kernel' -> 'backbone'."""
    return [*key.split("/"), ""][1]


def _is_head(key: str) -> bool:
    return _part(key) == "head" or _part(key).startswith("head_")


def _listed(title: str, lines: list[str]) -> str:
    return f"{title}: {_short(sorted(lines))}; " if lines else ""


def _short(lines: Iterable[str], most: int = 8) -> str:
    lines = list(lines)
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return ", ".join(lines[:most]) + more
