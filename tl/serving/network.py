"""An exported folder as a function of encoded pictures, with limits on what a picture may cost."""

from __future__ import annotations

import hashlib
import io
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tl.data import images, transforms
from tl.errors import InputError
from tl.exported.load import Model
from tl.preprocess import Preprocess
from tl.report.images import data_uri, overlay

# Pillow reads more, and one kind of them by starting another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
READ = ("model.json", "predict.jax", "weights.npz")  # and grad_cam.jax, which not every network has
MOST_PIXELS = 50_000_000  # of a picture, and of what its resizing makes of it


class Question(NamedTuple):
    image: np.ndarray  # uint8 (size, size, 3)
    explain: bool


def check(folder: pathlib.Path) -> None:
    """InputError unless the files that are read are there, and are those that were exported, by their sha256."""
    missing = [name for name in (*READ, "SHA256SUMS") if not (folder / name).is_file()]
    if missing:
        raise InputError(f"'{folder}' is no exported run, it has no {missing[0]}: make one by scripts/export.py.")
    lines = (folder / "SHA256SUMS").read_text(errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in (*READ, "grad_cam.jax"):
        path, found = folder / name, None
        if path.is_file():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sums.get(name):
            raise InputError(
                f"'{path}' is {'no longer there' if found is None else 'not as it was exported'}, by SHA256SUMS "
                "beside it: export the run again by scripts/export.py, or copy the folder anew."
            )


class Network:
    """`answer` takes up to `most` questions at a time; each power of two below that is a program of its own.

    InputError for a folder that is not as scripts/export.py has left it.
    """

    def __init__(self, folder: pathlib.Path, most: int, pixels: int = MOST_PIXELS) -> None:
        check(folder)
        self.model, self.most, self.pixels = Model(folder), most, pixels
        about = self.model.about["preprocess"]
        self.preprocess = Preprocess(about["size"], about["resize"])
        self.chain = transforms.compose(transforms.evaluation(self.preprocess))
        self.maps = self.model.load("grad_cam") if (folder / "grad_cam.jax").is_file() else None

    def warm(self) -> None:
        """Compile every size, so that no request waits for that."""
        blank = np.zeros((self.preprocess.size, self.preprocess.size, 3), np.uint8)
        for power in range((self.most - 1).bit_length() + 1):
            self.answer([Question(blank, True)] * min(2**power, self.most))

    def read(self, data: bytes, name: str) -> np.ndarray:
        """Encoded picture -> uint8 (size, size, 3); InputError for one that is broken, no picture or too large."""
        size = self.measured(data, name)
        resized = max(size) / min(size) * self.preprocess.resize**2
        if max(size[0] * size[1], resized) > self.pixels:
            raise InputError(
                f"'{name}' has {size[0]} x {size[1]} pixels, and {self.pixels} are the most that a picture, and what "
                "its resizing makes of it, may have."
            )
        return self.chain(images.decode(data, name), np.random.default_rng(0))

    def measured(self, data: bytes, name: str) -> tuple[int, int]:
        """Width and height by the header alone."""
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                return picture.size
        except Exception as error:  # Pillow raises many kinds
            raise InputError(f"'{name}' is no picture that can be read: send one of {', '.join(FORMATS)}.") from error

    def answer(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """What `predict` says of each, by task, and where it was asked for the Grad-CAM over the image."""
        batch = self.padded([question.image for question in questions])
        outputs = {name: np.asarray(rows) for name, rows in self.model.program(self.model.weights, batch).items()}
        answers: list[dict[str, Any]] = [
            {"tasks": {name: self.said(name, rows[i]) for name, rows in outputs.items()}} for i in range(len(questions))
        ]
        asked = [i for i, question in enumerate(questions) if question.explain]
        if asked and self.maps:
            maps = np.asarray(self.maps(self.model.weights, self.padded([questions[i].image for i in asked])))
            for i, values in zip(asked, maps, strict=False):
                answers[i]["grad_cam"] = data_uri(overlay(questions[i].image, values), 448)
        return answers

    def padded(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """The rows and blanks behind them, to a size for which there is a program."""
        size = min(1 << (len(rows) - 1).bit_length(), self.most)
        return np.stack([*rows, *[np.zeros_like(rows[0])] * (size - len(rows))])

    def said(self, name: str, values: np.ndarray) -> dict[str, Any]:
        kind, classes = (self.model.about["tasks"][name][key] for key in ("kind", "classes"))
        named = dict(zip(classes, map(float, values), strict=True))
        if kind not in ("classification", "binary"):
            return {"values": named}
        best = int(values.argmax())
        return {"class": classes[best], "probability": float(values[best]), "probabilities": named}
