"""Pretrained weights: a spec in a config becomes a flat tree of arrays in this project's names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from tl import models
from tl.errors import InputError
from tl.preprocess import Preprocess
from tl.text import Text
from tl.weights import fetch, known, quantised, readers, texts
from tl.weights.convert import convert, merge
from tl.weights.readers import tree_sha256, write

__all__ = ["Loaded", "load", "merge", "metadata", "split_specs", "tree_sha256", "write"]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Weights ready to be merged: "params/backbone/...", "stats/backbone/..." -> float32 (or float64) arrays.

    `preprocess` and `classes` are None where the file does not say (the model's default preprocessing then
    holds); `source` is the spec with defaults filled in; `sha256` is the file's digest, for a soup the digest
    of its files' digests. `arguments` are those of the model that the file tells; `layers` of the backbone are filled,
    all where none is named.
    """

    flat: dict[str, np.ndarray]
    preprocess: Preprocess | Text | None
    classes: tuple[str, ...] | None
    source: str
    sha256: str
    # Where there are several, the kind and the classes of each.
    tasks: Mapping[str, tuple[str, Sequence[str]]] = dataclasses.field(default_factory=dict)
    relations: tuple[str, ...] = ()  # of a knowledge graph, whose entities are the classes
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    layers: tuple[str, ...] = ()


def split_specs(spec: str) -> list[str]:
    """The specs of a soup or an ensemble: split at each `+` before a new spec (a path may hold a plus)."""
    return re.split(rf"\+(?={fetch.START})", spec)


def metadata(
    model: str, preprocess: Preprocess | Text | None = None, classes: Sequence[str] | None = None, **more: str
) -> dict[str, str]:
    """The metadata that `load` understands, for `write`; `more` is kept as it is (source, licence, ...)."""
    result = {"model": model, **more}
    if preprocess is not None:
        result["preprocess"] = preprocess.to_json()
    if classes is not None:
        result["classes"] = json.dumps(list(classes))
    return result


def load(spec: str, model: str, model_args: Mapping[str, Any] | None = None) -> Loaded | None:
    """The weights that `spec` names, in the names of `model` (made with `model_args`); None for "none".

    `spec`: see `tl.weights.fetch.locate`; several joined by `+` are a soup, the mean of their trees (Wortsman
    et al. 2022). Files in this project's format must have been written for the same model; others are
    converted by the family's name table. Raises InputError for everything that is wrong with the spec, the
    file or its names.
    """
    specs = split_specs(spec)
    if specs == ["none"]:
        return None
    if "none" in specs:
        raise InputError(f"the weights '{spec}' mix 'none' into a soup: leave it out.")
    first = _load_one(specs[0], model, model_args or {})
    return first if len(specs) == 1 else _soup(first, specs[1:], model, model_args or {})


def _load_one(spec: str, model: str, model_args: Mapping[str, Any]) -> Loaded:
    spec = fetch.resolve(spec, model)
    path = fetch.locate(spec, model)
    digest = readers.file_sha256(path)
    row = known.of_source(spec)
    # Only for the very source in the table: a revision behind it means that other bytes are wanted.
    if row is not None and row.source == spec and not digest.startswith(row.sha256):
        raise InputError(
            f"the file of '{spec}' has the sha256 {digest[:16]}, not {row.sha256} as published ('{path}'): "
            "delete it and "
            "fetch it again, or name a revision (hf:ORG/NAME@REVISION) to take what is there."
        )
    tensors, meta = readers.read(path)
    if not readers.is_own(meta):
        found = Loaded({}, row.preprocess if row else None, None, spec, digest)
        if models.reads(model) == "tokens":
            tensors, found = _of_text(tensors, found, model, path)
        return dataclasses.replace(found, flat=_widened(convert(tensors, model, **model_args)))
    if meta.get("model") != model:
        raise InputError(
            f"the weights '{spec}' were written for the model '{meta.get('model')}', but the model is "
            f"'{model}': "
            f"set model={meta.get('model')} or give other weights."
        )
    try:
        kind = Text if models.reads(model) == "tokens" else Preprocess
        preprocess = kind.from_json(meta["preprocess"]) if "preprocess" in meta else None
        classes = tuple(json.loads(meta["classes"])) if "classes" in meta else None
        several, arguments = (json.loads(meta.get(key, "{}")) for key in ("tasks", "model_args"))
        relations = tuple(json.loads(meta.get("relations", "[]")))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the metadata of the weights '{spec}' are damaged ({error}): write the file again."
        ) from error
    flat = _widened(quantised.restore(tensors))
    return Loaded(flat, preprocess, classes, spec, digest, several, relations, arguments)


def _of_text(
    tensors: dict[str, np.ndarray], found: Loaded, model: str, path: pathlib.Path
) -> tuple[dict[str, np.ndarray], Loaded]:
    """The tensors to convert, and `found` with what the file, or those beside it, tell of tokens and size."""
    if texts.is_vectors(tensors):
        text, arguments = texts.of_vectors(tensors, model, found.source)
        del tensors["words"]
        return tensors, dataclasses.replace(found, preprocess=text, arguments=arguments, layers=("embedding",))
    rows = next((len(value) for name, value in tensors.items() if name.endswith("word_embeddings.weight")), 0)
    text, arguments = texts.beside(lambda name: fetch.beside(found.source, path, name), rows, found.source)
    return tensors, dataclasses.replace(found, preprocess=text, arguments=arguments)


def grown(loaded: Loaded, count: int, seed: int) -> Loaded:
    """Vectors of words with new ones behind them, `count` in all: evenly drawn, of the same variance (Kim 2014)."""
    (name,) = loaded.flat
    vectors = loaded.flat[name]
    most = np.sqrt(3 * vectors.var())
    new = np.random.default_rng([seed, 5]).uniform(-most, most, (count - len(vectors), vectors.shape[1]))
    flat = {name: np.concatenate([vectors, new.astype(vectors.dtype)])}
    return dataclasses.replace(loaded, flat=flat, arguments={**loaded.arguments, "vocabulary": count})


def _widened(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    # Parameters are kept in float32; half precision is only how some files are stored.
    narrow = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
    return {name: value.astype(np.float32) if value.dtype in narrow else value for name, value in flat.items()}


def _soup(first: Loaded, specs: list[str], model: str, model_args: Mapping[str, Any]) -> Loaded:
    # One file at a time beside the running sum, in float64 so that the order of the files hardly matters.
    total = {name: value.astype(np.float64) for name, value in first.flat.items()}
    loaded = [first]
    for spec in specs:
        other = _load_one(spec, model, model_args)
        _check_same(first, other)
        for name, value in other.flat.items():
            total[name] += value
        loaded.append(dataclasses.replace(other, flat={}))
    mean = {name: (value / len(loaded)).astype(first.flat[name].dtype) for name, value in total.items()}
    return dataclasses.replace(
        first,
        flat=mean,
        source="+".join(part.source for part in loaded),
        sha256=hashlib.sha256("\n".join(part.sha256 for part in loaded).encode()).hexdigest(),
    )


def _check_same(first: Loaded, other: Loaded) -> None:
    names = f"the weights '{first.source}' and '{other.source}' cannot be averaged"
    shapes, others = ({k: v.shape for k, v in part.flat.items()} for part in (first, other))
    differing = sorted(k for k in shapes.keys() | others.keys() if shapes.get(k) != others.get(k))
    if differing:
        name = differing[0]
        raise InputError(
            f"{names}: {len(differing)} leaves differ, among them {name} ({shapes.get(name, 'missing')} and "
            f"{others.get(name, 'missing')}): a soup is made of runs of one architecture and head."
        )
    for what, one, two in (
        ("classes", first.classes, other.classes),
        ("relations", first.relations, other.relations),
        ("preprocessing", first.preprocess, other.preprocess),
    ):
        if one != two:
            raise InputError(f"{names}: their {what} differ ({_brief(one)} and {_brief(two)}).")


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
