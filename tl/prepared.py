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
from tl.text import FIRST, LONGEST, Text
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
    places = {**(loaded.arguments if loaded else {}), **config.model_args.to_dict()}.get("positions", LONGEST)
    text = of_text(config, known, dataset, grows=not loaded or bool(loaded.layers), most=places)
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


def of_text(config: Config, given: dict[str, Text], dataset: Dataset, *, grows: bool, most: int = LONGEST) -> Text:
    """The vocabulary of the weights or the teacher, `given`, or of the config; and a length.

    Where it `grows`, one of words takes in those of the training sentences. A length that the data choose is at most
    `most`, the places that the network knows. InputError where two vocabularies differ.
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
        every = [one for split in dataset.splits.values() for one in texts.sentences(split)]
        return chosen.fitted(every, whole=1.0, most=most)
    return chosen.fitted(train, most=most)


def arguments(config: Config, loaded: Loaded | None, preprocess: Preprocess | Text | None) -> dict[str, Any]:
    """The network's arguments: what its vocabulary and its weights tell, and what the config says in place of that."""
    words = {"vocabulary": len(preprocess.vocabulary)} if isinstance(preprocess, Text) else {}
    told = dict(loaded.arguments) if loaded else {}
    # A vocabulary beside the weights was spoken of when they were read.
    say = bool(config.get("text", {"vocabulary": ""})["vocabulary"])
    if words and told and not vocabularies.fits(told.get("vocabulary", 0), words["vocabulary"], say=say):
        raise InputError(
            f"the vocabulary has {words['vocabulary']} words and the weights '{config.weights}' know "
            f"{told['vocabulary']}: name the vocab.txt that they were trained with."
        )
    return {**words, **told, **config.model_args.to_dict()}


def lasting(preprocess: Preprocess | Text, given: Mapping[str, Any]) -> dict[str, str]:
    """What a text model's file says of its `arguments`. Dropout is of one training: the next has its own."""
    kept = {name: value for name, value in given.items() if name != "dropout"}
    return {"model_args": json.dumps(kept)} if isinstance(preprocess, Text) else {}
