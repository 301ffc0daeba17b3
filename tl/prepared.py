"""What makes a network's input of an image or a sentence: as the weights say, but for what the config sets."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from tl import models, weights
from tl.config import Config
from tl.data import texts
from tl.data.base import Dataset
from tl.errors import InputError
from tl.preprocess import Preprocess
from tl.text import FIRST, Text
from tl.weights import Loaded
from tl.weights import texts as vocabularies


def make(
    config: Config, loaded: Loaded | None, taught: Preprocess | Text | None, dataset: Dataset
) -> tuple[Preprocess | Text, Loaded | None, Dataset]:
    """The preprocessing, and weights and data as it makes them: vectors of new words, and tokens in place of sentences.

    `taught` is the teacher's preprocessing: both read the same tokens.
    """
    own = loaded.preprocess if loaded else None
    if models.reads(config.model) != "tokens":
        return of_images(config, own), loaded, dataset
    given = {"config.weights": own, "config.teacher": taught}
    known = {name: text for name, text in given.items() if isinstance(text, Text)}
    text = of_text(config, known, dataset, grows=not loaded or bool(loaded.layers))
    if loaded and loaded.layers:
        loaded = weights.grown(loaded, len(text.vocabulary), config.seed)
    return text, loaded, texts.tokenised(dataset, text) if dataset.splits["train"].written else dataset


def of_images(config: Config, own: Preprocess | Text | None) -> Preprocess:
    """The weights' preprocessing, else the model's, with what the config sets in its place."""
    base = own if isinstance(own, Preprocess) else models.preprocess(config.model)
    size = config.image_size or base.size
    resize = config.resize or round(size * base.resize / base.size)
    if resize < size:
        raise InputError(
            f"config.resize={resize} is smaller than the crop of image_size={size}: make it at least that."
        )
    return Preprocess(size, resize, tuple(config.mean) or base.mean, tuple(config.std) or base.std)


def of_text(config: Config, given: dict[str, Text], dataset: Dataset, *, grows: bool) -> Text:
    """The vocabulary of the weights or the teacher, `given`, or of the config; and a length.

    Where it `grows`, one of words takes in those of the training sentences. InputError where two of these differ.
    """
    asked = config.get("text", {"length": 0, "vocabulary": ""})
    if asked["vocabulary"]:
        file = vocabularies.read(pathlib.Path(os.path.expandvars(asked["vocabulary"])))
        given = {**given, "config.text.vocabulary": file}
    if len({(text.kind, text.vocabulary) for text in given.values()}) > 1:
        held = ", ".join(f"{name} of {len(text.vocabulary)} {text.kind}" for name, text in given.items())
        raise InputError(f"vocabularies differ ({held}), and a batch holds tokens of one: name weights of the same.")
    written = dataset.splits["train"].written
    if not given and config.weights != "none" and written:
        raise InputError(
            f"no vocabulary stands beside the weights '{config.weights}': name a vocab.txt in config.text.vocabulary."
        )
    train = texts.sentences(dataset.splits["train"]) if written else []
    chosen = next(iter(given.values()), Text("words", FIRST["words"]))
    if grows and chosen.kind == "words" and "config.teacher" not in given:
        chosen = chosen.with_words(train)
    if asked["length"] < 0 or asked["length"] == 1:
        raise InputError(f"config.text.length={asked['length']} is too small: it must be 2 or more, or 0.")
    length = asked["length"] or next((text.length for text in given.values() if text.length), 0)
    if length or not train:
        return dataclasses.replace(chosen, length=length)
    if dataset.splits["train"].field == "words":  # a tag cut off would be missing from the figures, too
        return chosen.fitted([one for split in dataset.splits.values() for one in texts.sentences(split)], whole=1.0)
    return chosen.fitted(train)


def arguments(config: Config, loaded: Loaded | None, preprocess: Preprocess | Text | None) -> dict[str, Any]:
    """The network's arguments: what its vocabulary and its weights tell, and what the config says in place of that."""
    words = {"vocabulary": len(preprocess.vocabulary)} if isinstance(preprocess, Text) else {}
    told = dict(loaded.arguments) if loaded else {}
    if words and told and not 0 <= told.get("vocabulary", 0) - words["vocabulary"] < vocabularies.PADDED:
        raise InputError(
            f"the vocabulary has {words['vocabulary']} words and the weights '{config.weights}' know "
            f"{told['vocabulary']}: name the vocab.txt that they were trained with."
        )
    return {**words, **told, **config.model_args.to_dict()}


def lasting(preprocess: Preprocess | Text, given: Mapping[str, Any]) -> dict[str, str]:
    """What a text model's file says of its `arguments`. Dropout is of one training: the next has its own."""
    kept = {name: value for name, value in given.items() if name != "dropout"}
    return {"model_args": json.dumps(kept)} if isinstance(preprocess, Text) else {}
