"""Labels as a source stores them -> labels as a task needs them, checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tl.errors import InputError

CLASS_KINDS = ("classification", "binary")
KINDS = (*CLASS_KINDS, "multi_label", "regression", "ranking", "tags")
FROM_0 = "number the classes from 0, or write names"  # in files of sentences, which may hold either


def convert(
    stored: Mapping[str, np.ndarray], names: tuple[str, ...], classes: int, kind: str, source: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Labels of all splits for a task of `kind`, and the names of its classes.

    classification, binary, ranking: int32 (N,), each in 0..K-1, K = `classes`, else the number of `names`, else the
    largest + 1 (2 for binary). multi_label: float32 (N, K) of 0 and 1. regression: float32 (N,) or (N, K), all
    finite. tags: as they are. Raises InputError for a shape, type or value that the kind does not allow.
    """
    if kind == "tags":
        return dict(stored), names
    shaped = {split: _squeeze(y) for split, y in stored.items()}
    _check_finite(shaped, source)
    if kind in (*CLASS_KINDS, "ranking"):
        whole = {split: _integers(y, kind, source) for split, y in shaped.items()}
        largest = max(int(y.max()) for y in whole.values())
        width = classes or (2 if kind == "binary" else len(names) or largest + 1)
        if largest >= width or min(int(y.min()) for y in whole.values()) < 0:
            bad = next(int(v) for y in whole.values() for v in y if not 0 <= v < width)
            remedy = FROM_0 if source.startswith(("tsv:", "csv:")) else FROM_0.split(",")[0]
            raise InputError(
                f"label {bad} of '{source}' is out of range: {width} classes have labels 0 to {width - 1}"
                + (f"; {remedy}." if bad < 0 else ".")
            )
        return whole, _widened(names, width)
    with np.errstate(over="ignore"):
        floats = {split: y.astype(np.float32) for split, y in shaped.items()}
    _check_finite(floats, source)
    if kind == "regression":
        words = names and source.startswith(("tsv:", "csv:"))  # whose classes are the labels' own names
        if (words or len(names) > 1) and any(y.ndim == 1 for y in floats.values()):
            raise InputError(
                f"labels of '{source}' are names, such as '{names[-1]}', and a regression has numbers: is it a comma "
                "for a point, or the name of a column?"
            )
        columns = {y.shape[1] if y.ndim == 2 else 1 for y in floats.values()}
        return floats, names if columns == {len(names)} else ()
    for y in floats.values():
        if y.ndim != 2 or not np.isin(y, (0, 1)).all():
            raise InputError(f"multi-label labels of '{source}' must be (N, K) of 0 and 1, found {_describe(y)}.")
    width = classes or next(iter(floats.values())).shape[1]
    if any(y.shape[1] != width for y in floats.values()):
        raise InputError(f"multi-label labels of '{source}' have {_describe(floats['train'])}, not {width} columns.")
    return floats, _widened(names, width)


def _check_finite(stored: Mapping[str, np.ndarray], source: str) -> None:
    for y in stored.values():
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise InputError(
                f"labels of '{source}' hold {int((~np.isfinite(y)).sum())} NaN or infinite values, or ones that are "
                "too large: correct them."
            )


def _squeeze(y: np.ndarray) -> np.ndarray:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _integers(y: np.ndarray, kind: str, source: str) -> np.ndarray:
    whole = y.ndim == 1 and y.dtype.kind in "iufb" and np.array_equal(y, np.floor(y))
    if not whole or (np.abs(y.astype(np.float64)) > np.iinfo(np.int32).max).any():
        raise InputError(f"labels of '{source}' must be whole numbers of shape (N,) for {kind}, found {_describe(y)}.")
    return y.astype(np.int32)


def _describe(y: np.ndarray) -> str:
    return f"{y.dtype} {y.shape} with values such as {', '.join(str(v) for v in y.ravel()[:3])}"


def _widened(names: tuple[str, ...], width: int) -> tuple[str, ...]:
    return names[:width] + tuple(str(i) for i in range(len(names), width))
