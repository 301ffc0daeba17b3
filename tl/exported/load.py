"""An exported network, run by jax and numpy alone.

Model(folder).predict(images): uint8 RGB (N, size, size, 3), of prepare.py, -> {task: (N, C)}; the C are in `classes`.
"""

import json
import pathlib
import sys

import jax.export
import numpy as np

sys.path.append(str(pathlib.Path(__file__).with_name("flatbuffers.zip")))  # jax.export reads programs by it


class Model:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.about = json.loads((self.folder / "model.json").read_text())
        self.classes = {name: task["classes"] for name, task in self.about["tasks"].items()}
        self.weights = jax.device_put(dict(np.load(self.folder / "weights.npz")))
        self.program = self.load("predict")

    def load(self, name):  # the program of a file: (weights, images) -> its outputs, for any number of images
        return jax.jit(jax.export.deserialize(bytearray((self.folder / f"{name}.jax").read_bytes())).call)

    def predict(self, images, most=64):
        """Probabilities of the classes of each task, of a regression the values; `most` images at a time."""
        parts = [self.program(self.weights, images[i : i + most]) for i in range(0, len(images), most)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.classes}
