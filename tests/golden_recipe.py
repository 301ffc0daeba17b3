"""What the golden files leave out because it can be computed: weights, images, and which pixels are compared.

Weights would be hundreds of megabytes, so they are a function of a tensor's name and shape. `scripts/make_goldens.py`
puts them into the torch models and the tests convert them by their torch names: nothing but this file is shared.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

SAMPLES = 64


def tensor(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """The weight called `name`, float32; `gain` is the variance of a kernel times its fan-in; counters are zero."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    uniform = rng.random(shape, np.float32)
    if len(shape) > 1:
        # torch keeps the outputs first, the .npz of BiT ("kernel") keeps them last
        fan_in = math.prod(shape[:-1] if name.endswith("kernel") else shape[1:])
        return (uniform - np.float32(0.5)) * np.float32(math.sqrt(12 * gain / fan_in))
    if name.endswith(("weight", "gamma", "running_var")):
        return uniform + np.float32(0.5)
    return (uniform - np.float32(0.5)) * np.float32(0.5)


def image(shape: tuple[int, ...]) -> np.ndarray:
    """(N, H, W, 3) float32, as if normalised."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def sample(values: np.ndarray, name: str) -> np.ndarray:
    """(SAMPLES,) entries of an (N, H, W, C) map, the same ones for everybody."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return values.reshape(-1)[rng.integers(0, values.size, SAMPLES)]
