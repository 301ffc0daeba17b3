"""What stands beside the weights of a text model: its size, and the vocabulary of its tokens."""

from __future__ import annotations

import json
import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tl import models
from tl.errors import InputError
from tl.models import bert
from tl.text import FIRST, Text

Find = Callable[[str], pathlib.Path | None]  # the file of that name beside the weights, None where there is none

# What the length of a table of word vectors is rounded up to, if at all: rows behind the last word's are no words.
ROUNDED = (8, 16, 32, 64, 128)


def fits(rows: int, words: int, *, say: bool = True) -> bool:
    """Whether a table of so many rows may be that of so many words: as long, or rounded up, which the log would say."""
    rounded = any(rows % to == 0 and 0 < rows - words < to for to in ROUNDED)
    if rounded and say:
        logging.getLogger(__name__).warning(
            "the vocabulary has %d words and the weights %d rows of them: those behind are taken for padding",
            *(words, rows),
        )
    return rounded or rows == words


def is_vectors(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether these are words and their vectors, such as GloVe's."""
    return set(tensors) == {"words", "vectors"}


def of_vectors(tensors: Mapping[str, np.ndarray], model: str, spec: str) -> tuple[Text, dict[str, Any]]:
    """The vocabulary, and the arguments of a model whose embedding these vectors fill; InputError for another model."""
    words, vectors = tensors["words"], tensors["vectors"]
    if vectors.ndim != 2 or len(words) != len(vectors) or vectors.dtype.kind != "f":
        raise InputError(f"'{spec}' holds {len(words)} words and vectors {vectors.shape}: give one vector a word.")
    if models.family(model) is bert:
        raise InputError(
            f"'{spec}' holds vectors of words, and config.model='{model}' reads pieces: take textcnn or lstm."
        )
    text = Text("words", (*FIRST["words"], *map(str, words)))
    return text, {"vocabulary": len(text.vocabulary), "width": vectors.shape[1]}


def beside(find: Find, rows: int, spec: str) -> tuple[Text | None, dict[str, Any]]:
    """The vocabulary of a published BERT with so many word vectors, and its size, from the files beside its weights."""
    config, text = find("config.json"), vocabulary(find)
    told = bert.told(_json(config), str(config)) if config else {}
    if text and not fits(rows, len(text.vocabulary)):
        raise InputError(
            f"the vocabulary beside '{spec}' has {len(text.vocabulary)} words and the weights {rows}: they do not "
            "belong together."
        )
    return text, told | {"vocabulary": rows}


def vocabulary(find: Find) -> Text | None:
    """That of vocab.txt, else of tokenizer.json."""
    if path := find("vocab.txt"):
        return read(path)
    path = find("tokenizer.json")
    if path is None:
        return None
    model = _json(path).get("model", {})
    if model.get("type") != "WordPiece":
        raise InputError(f"'{path}' cuts words by {model.get('type')}: only WordPiece can be read.")
    return Text("wordpiece", tuple(sorted(model["vocab"], key=model["vocab"].__getitem__)))


def read(path: pathlib.Path) -> Text:
    """A vocab.txt, one piece a line."""
    try:
        return Text("wordpiece", tuple(path.read_text("utf-8").removesuffix("\n").split("\n")))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the vocabulary '{path}' ({error}): give a vocab.txt, one piece a line."
        ) from error


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"'{path}' is no JSON ({error}): fetch it again.") from error
