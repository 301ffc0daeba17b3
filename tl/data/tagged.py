"""Sentences of which every word has a tag: files as CoNLL-2003 has them, one word a line."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tl import spans
from tl.data import texts
from tl.data.base import Dataset, Split
from tl.errors import InputError
from tl.spans import NONE

Sentence = tuple[str, Sequence[str], Sequence[str]]  # its name, its words, a tag for each


def conll(argument: str, task: str) -> Dataset:
    """`conll:FILE`: a word a line, in the last of its columns the tag; an empty line ends a sentence.

    Columns stand apart by blanks or tabs. Lines of -DOCSTART- are passed by; see `texts.files` for several splits.
    """
    held, digest = texts.contents(argument, "conll")
    return of_sentences({split: list(_sentences(text, path)) for split, (path, text) in held.items()}, digest)


def _sentences(text: str, path: pathlib.Path) -> Iterator[Sentence]:
    words: list[str] = []
    tags: list[str] = []
    count = 0
    for number, line in enumerate((*text.split("\n"), ""), start=1):
        columns = re.split(r"[ \t]+", line.strip(" \t\r"))
        if columns[0] == "-DOCSTART-":
            continue
        if columns != [""]:
            if len(columns) == 1:
                raise InputError(
                    f"'{path}', line {number}, has one column, '{columns[0]}': write a word and its tag, a blank or a "
                    "tab between them."
                )
            words.append(columns[0])
            tags.append(tag(columns[-1], f"'{path}', line {number},"))
        elif words:
            yield f"{path.name}:{number - len(words)}", words, tags
            words, tags, count = [], [], count + 1
    if not count:
        raise InputError(f"'{path}' holds no sentence: write a word and its tag in each line.")


def tag(found: str, where: str) -> str:
    """The same; InputError for what is no tag."""
    if not spans.is_tag(found):
        raise InputError(f"{where} has the tag '{found}': write O, or B-, I-, E- or S- before a type.")
    return found


def of_sentences(held: Mapping[str, Sequence[Sentence]], fingerprint: str) -> Dataset:
    """Splits of `words`, (N, longest) numbers of tags beside them, NONE behind a sentence's end.

    Tags of any scheme become those of B- and I-, the classes.
    """
    found = {split: [spans.bio(tags) for _, _, tags in sentences] for split, sentences in held.items()}
    every = [tags for sentences in found.values() for tags in sentences]
    names = spans.names(spans.types(name for tags in every for name in tags))
    numbers, longest = {name: number for number, name in enumerate(names)}, max(map(len, every))
    parts = {}
    for split, sentences in held.items():
        labels = np.full((len(sentences), longest), NONE, np.int32)
        for row, tags in zip(labels, found[split], strict=True):
            row[: len(tags)] = [numbers[name] for name in tags]
        words = [tuple(words) for _, words, _ in sentences]
        named = [name for name, _, _ in sentences]
        parts[split] = Split(words.__getitem__, {"label": labels}, named, in_memory=True, field="words")
    return Dataset(parts, names, fingerprint)


def check_types(parts: Mapping[str, Split], task: str, classes: Sequence[str], source: str) -> None:
    """InputError where an entity's type occurs in val or test and cannot be learnt."""
    held = {
        split: set(spans.types(classes[int(number)] for number in np.unique(part.labels[task]) if number != NONE))
        for split, part in parts.items()
    }
    for split, kinds in held.items():
        if missing := sorted(kinds - held["train"]):
            raise InputError(
                f"{split} of '{source}' has entities of a type that train never has: {', '.join(missing[:5])}; add "
                "such sentences to train, or tag them O."
            )
