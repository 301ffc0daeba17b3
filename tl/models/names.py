"""Rows of a name table: how the tensors of a published file are called and shaped here.

A family's `names(**arguments)` returns a list of rows (pattern, target, transform). Every source tensor must
match exactly one pattern in full. `target` says where the leaf lies in a flat tree ("params/backbone/...",
"stats/backbone/...", "params/head/..."): it is expanded as by `re.Match.expand`, or is a function of the
match where numbers change, or None for a tensor that is knowingly dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

Target = str | Callable[[re.Match[str]], str] | None
Row = tuple[str, Target, Callable[[np.ndarray], np.ndarray]]

HEAD = "params/head"


def same(x: np.ndarray) -> np.ndarray:
    return x


def vector(x: np.ndarray) -> np.ndarray:
    """A per-channel tensor whatever axes of length 1 it was stored with."""
    return x.reshape(-1)


def hwio(x: np.ndarray) -> np.ndarray:
    """torch's convolution kernel (out, in, h, w) -> (h, w, in, out)."""
    return x.transpose(2, 3, 1, 0)


def transposed(x: np.ndarray) -> np.ndarray:
    """torch's linear weight (out, in), or the same as a 1x1 convolution (out, in, 1, 1) -> (in, out)."""
    return x.reshape(x.shape[:2]).T


def _under(collection: str, target: Target, leaf: str) -> Target:
    """The target of one leaf of the layer at `target`."""
    if callable(target):
        return lambda match: f"{collection}/backbone/{target(match)}/{leaf}"
    return f"{collection}/backbone/{target}/{leaf}"


def conv(pattern: str, target: Target, bias: bool = False) -> list[Row]:
    """A torch convolution."""
    rows: list[Row] = [(rf"{pattern}\.weight", _under("params", target, "kernel"), hwio)]
    return [*rows, (rf"{pattern}\.bias", _under("params", target, "bias"), same)] if bias else rows


def norm(pattern: str, target: Target) -> list[Row]:
    """A torch group norm: a scale and a shift."""
    return [
        (rf"{pattern}\.weight", _under("params", target, "scale"), same),
        (rf"{pattern}\.bias", _under("params", target, "bias"), same),
    ]


def batch_norm(pattern: str, target: Target) -> list[Row]:
    """A torch batch norm; its counter of batches means nothing here, since the momentum is fixed."""
    return [
        *norm(pattern, target),
        (rf"{pattern}\.running_mean", _under("stats", target, "mean"), same),
        (rf"{pattern}\.running_var", _under("stats", target, "var"), same),
        (rf"{pattern}\.num_batches_tracked", None, same),
    ]


def classifier(pattern: str) -> list[Row]:
    """A torch linear layer, or 1x1 convolution, that gives the logits."""
    return [
        (rf"{pattern}\.weight", f"{HEAD}/kernel", transposed),
        (rf"{pattern}\.bias", f"{HEAD}/bias", same),
    ]
