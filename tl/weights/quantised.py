"""Kernels in eight bits: symmetric, with a scale for each output channel (Jacob et al. 2018, arXiv:1712.05877)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SCALE = "_scale"  # beside each int8 kernel: float32, a number for each output channel


def quantise(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every `.../kernel` as int8 and its scale; everything else as it is."""
    found = dict(flat)
    for path, kernel in flat.items():
        if path.endswith("/kernel"):
            largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
            scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
            found[path] = np.round(kernel / scale).astype(np.int8)
            found[path + SCALE] = scale
    return found


def restore(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The float32 kernels that int8 ones and their scales stand for; a file without any comes back as it is."""
    scales = {path for path in flat if path.endswith(SCALE) and path.removesuffix(SCALE) in flat}
    return {
        path: value.astype(np.float32) * flat[path + SCALE] if path + SCALE in scales else value
        for path, value in flat.items()
        if path not in scales
    }
