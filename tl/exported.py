"""An exported network, run by jax and numpy; jax.export reads its files by the package flatbuffers.

    model = Model("folder")
    model.predict([image])   # uint8 RGB (H, W, 3) of any size -> {task: (1, C)}; model.classes: {task: (C,) names}

A copy of this file lies in every exported folder as load.py.
"""

import json
import pathlib

import jax
import jax.export
import numpy as np

DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4"}
MOST = 64  # images at once
BITS = 22  # of the fraction of a resampling weight, as Pillow rounds them


class Model:
    """`about` is model.json; `weights` are arguments of the programs, so that there is one copy of them on disk."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.about = json.loads((self.folder / "model.json").read_text())
        self.classes = {name: task["classes"] for name, task in self.about["tasks"].items()}
        self.weights = jax.device_put(read_safetensors(self.folder / "weights.safetensors"))
        self.program = self.load("predict")

    def load(self, name):
        """The program of the file `name`.jax: (weights, uint8 (N, size, size, 3)) -> its outputs, for any N."""
        return jax.jit(jax.export.deserialize(bytearray((self.folder / f"{name}.jax").read_bytes())).call)

    def predict(self, images):
        """Probabilities of the classes of each task, of a regression the values."""
        images = [self.prepare(image) for image in images]
        parts = [self.program(self.weights, np.stack(images[i : i + MOST])) for i in range(0, len(images), MOST)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.classes}

    def prepare(self, image):
        """The image as the network takes it: short side to `resize`, then the middle of `size`, black where short."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"an image is uint8 (H, W, 3), red first, in 0..255, not {image.dtype} {image.shape}")
        size, short = self.about["preprocess"]["size"], self.about["preprocess"]["resize"]
        height, width = image.shape[:2]
        shape = (short * height // min(height, width), short * width // min(height, width))
        image = resize(image, *shape, down_first=self.about["preprocess"]["down_first"])
        more = [max(size - length, 0) for length in image.shape[:2]]
        image = np.pad(image, [*((pad // 2, pad - pad // 2) for pad in more), (0, 0)])
        top, left = (round((length - size) / 2) for length in image.shape[:2])
        return image[top : top + size, left : left + size]


def resize(image, height, width, down_first):
    """uint8 (H, W, 3) -> (height, width, 3), antialiased bilinear, to the bit as Pillow does it.

    Each pass ends in whole numbers. The one across comes first, but, from Pillow 13 on (`down_first`), not where a
    picture loses more than twice as many rows as columns.
    """
    old_height, old_width = image.shape[:2]
    down, across = taps(old_height, height), taps(old_width, width).T
    if down_first and old_height - height > max(0, 2 * (old_width - width)):
        planes = [rounded(rounded(down @ plane) @ across) for plane in np.moveaxis(image, 2, 0)]
    else:
        planes = [rounded(down @ rounded(plane @ across)) for plane in np.moveaxis(image, 2, 0)]
    return np.stack(planes, axis=2)


def taps(old, new):
    """(new, old) whole numbers, 2^BITS times the weights of a triangle that is never narrower than a pixel."""
    scale = old / new
    reach = max(scale, 1.0)
    centre = (np.arange(new)[:, None] + 0.5) * scale
    first, end = np.floor(np.maximum(centre - reach + 0.5, 0)), np.floor(np.minimum(centre + reach + 0.5, old))
    pixel = np.arange(old)[None]
    weight = np.maximum(1 - np.abs((pixel - centre + 0.5) * (1 / reach)), 0) * ((pixel >= first) & (pixel < end))
    return np.floor(weight / np.cumsum(weight, axis=1)[:, -1:] * 2**BITS + 0.5)


def rounded(sums):
    """Products of `taps` -> uint8; they are whole numbers below 2^53, and no order of sums changes them."""
    return np.clip(np.floor(sums / 2**BITS + 0.5), 0, 255).astype(np.uint8)


def read_safetensors(path):
    """{name: array}."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header, found = json.loads(data[8:start]), {}
    for name in header.keys() - {"__metadata__"}:
        kind, shape, (begin, end) = (header[name][key] for key in ("dtype", "shape", "data_offsets"))
        found[name] = np.frombuffer(data[start + begin : start + end], DTYPES[kind]).reshape(shape)
    return found
