"""Sentences with labels in text files, and the tokens that stand in their place before a run begins."""

from __future__ import annotations

import csv as library
import dataclasses
import hashlib
import io
import logging
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tl.data.base import Dataset, Split
from tl.data.folders import SPLIT_FOLDERS
from tl.errors import InputError
from tl.spans import NONE
from tl.text import Sentence, Text

SPLITS = {**SPLIT_FOLDERS, "dev": "val", "testa": "val", "testb": "test"}
HEADERS = ("label", "labels", "score", "class", "target", "sentence", "text", "index", "id")
LONGEST = 2**31 - 1  # characters of a sentence in a table; Python's own limit reads as a quote that is not closed
Rows = Iterator[tuple[int, str, str]]  # line, label, sentence


def tsv(argument: str, task: str) -> Dataset:
    """`tsv:FILE` of lines label TAB sentence, utf-8; see `files` for several splits."""
    return _opened(argument, "tsv", _by_tab)


def csv(argument: str, task: str) -> Dataset:
    """`csv:FILE` with columns `label` and `text`, named in its first line; see `files` for several splits."""
    return _opened(argument, "csv", _by_column)


def files(argument: str, kind: str) -> dict[str, pathlib.Path]:
    """{split: file}: the files of SPLITS in a folder, or those beside NAME_train.tsv; any other file is one set."""
    path = pathlib.Path(argument).expanduser()
    if path.is_dir():
        path = path / f"train.{kind}"
    if not path.is_file():
        raise InputError(f"no such file: '{path}' (data={kind}:FILE).")
    around = re.fullmatch(r"(.*[_.-])?train(\.\w+)?", path.name)
    if not around:
        return {"train": path}
    found: dict[str, pathlib.Path] = {}
    for name, split in SPLITS.items():
        beside = path.with_name(f"{around[1] or ''}{name}{around[2] or ''}")
        if beside.is_file() and found.setdefault(split, beside) != beside:
            raise InputError(f"'{found[split]}' and '{beside}' are both a set '{split}': move one of them elsewhere.")
    return found


def _opened(argument: str, kind: str, rows: Callable[[str, pathlib.Path], Rows]) -> Dataset:
    read, digest = contents(argument, kind)
    held = {split: (path, _checked(rows(text, path), path)) for split, (path, text) in read.items()}
    stored = {split: [label for _, label, _ in found] for split, (_, found) in held.items()}
    labels, classes = _numbers(stored)
    if kind == "tsv":
        _check_headings(held)
    parts = {
        split: Split(
            [sentence for _, _, sentence in found].__getitem__,
            {"label": labels[split]},
            [f"{path.name}:{line}" for line, _, _ in found],
            in_memory=True,
            field="text",
        )
        for split, (path, found) in held.items()
    }
    return Dataset(parts, classes, digest)


def contents(argument: str, kind: str) -> tuple[dict[str, tuple[pathlib.Path, str]], str]:
    """{split: its file and the text of that}, and a sha256 of all."""
    held, digest = {}, hashlib.sha256()
    for split, path in files(argument, kind).items():
        content = path.read_bytes()
        digest.update(content)
        held[split] = path, _decoded(content, path)
    return held, digest.hexdigest()


def _decoded(content: bytes, path: pathlib.Path) -> str:
    try:
        text = content.decode("utf-8-sig")
        return text if "\n" in text else text.replace("\r", "\n")  # old Macs end lines so
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"'{path}', line {line}, is not utf-8 (byte {content[error.start]:#04x}): save the file as utf-8."
        ) from error


def _by_tab(text: str, path: pathlib.Path) -> Rows:
    for line, row in enumerate(text.removesuffix("\n").split("\n"), start=1):
        label, tab, sentence = row.partition("\t")
        if line == 1 and label.strip().lower() in HEADERS:
            raise InputError(f"'{path}' begins with the names of columns: drop that line, or name a csv:FILE.")
        if not tab:
            raise InputError(f"'{path}', line {line}, has no tab: write label TAB sentence.")
        yield line, label, sentence


def _by_column(text: str, path: pathlib.Path) -> Rows:
    library.field_size_limit(LONGEST)
    reader = library.DictReader(io.StringIO(text), strict=True)
    try:
        names = list(reader.fieldnames or ())
        for name in ("label", "text"):
            if names.count(name) != 1:
                found = "several columns" if name in names else "no column"
                raise InputError(f"'{path}' has {found} '{name}': its first line must name label and text, once each.")
        for row in reader:
            if None in row:  # where the reader puts what is behind the last column
                raise InputError(
                    f"'{path}', line {reader.line_num}, has more columns than the first line names: put a text that "
                    "holds commas in quotes."
                )
            yield reader.line_num, row["label"] or "", row["text"] or ""
    except library.Error as error:
        raise InputError(f"'{path}', line {reader.line_num}: {error}: close every quote that is opened.") from error


def _check_headings(held: Mapping[str, tuple[pathlib.Path, list[tuple[int, str, str]]]]) -> None:
    """InputError for a file whose first line is like no other: no number before numbers, or the one word of a class."""
    every = Counter(label for _, found in held.values() for _, label, _ in found)
    for path, found in held.values():
        if len(found) < 2 or every[found[0][1]] > len(held) or _is_number(found[0][1]):
            continue
        (_, label, sentence), *rest = found
        if " " not in sentence or all(_is_number(other) for _, other, _ in rest):
            raise InputError(
                f"'{path}' seems to begin with names of columns, '{label}' and '{sentence[:40]}': drop that line, or "
                "name a csv:FILE with the columns label and text."
            )


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _checked(rows: Rows, path: pathlib.Path) -> list[tuple[int, str, str]]:
    found = [(line, label.strip(), sentence.strip()) for line, label, sentence in rows]
    for line, label, sentence in found:
        if not (label and sentence):
            raise InputError(
                f"'{path}', line {line}, has no {'text' if label else 'label'}: write one, or drop the line."
            )
    return found


def _numbers(stored: Mapping[str, list[str]]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Labels that are numbers as they are; others are names of classes, in alphabetical order."""
    try:
        return {split: np.array([float(label) for label in labels]) for split, labels in stored.items()}, ()
    except ValueError:
        names, count = sorted({label for labels in stored.values() for label in labels}), sum(map(len, stored.values()))
        if len(names) > max(20, count / 2):  # sentences in the place of labels
            raise InputError(
                f"{count} sentences have {len(names)} classes, such as '{names[0]}': put the label first, then the "
                "sentence."
            ) from None
        numbers = {name: number for number, name in enumerate(names)}
        return {split: np.array([numbers[label] for label in labels]) for split, labels in stored.items()}, tuple(names)


def sentences(split: Split) -> list[Any]:
    """All of them, in order: strings, or the words of each."""
    return [split.load(i) for i in range(len(split))]


def apart(splits: Mapping[str, Split], other: Dataset) -> dict[str, Split]:
    """The splits without the sentences that `other` holds too, whose labels they would tell; it says how many."""
    seen = set().union(*(map(_letters, sentences(split)) for split in other.splits.values()))
    return {name: _without(name, split, seen, "the target's") for name, split in splits.items()}


def disjoint(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Splits of several sources joined: no sentence of test is in val or train, and none of val in train."""
    found, seen = {}, set()
    for name in ("test", "val", "train"):
        if name in splits:
            found[name] = _without(name, splits[name], seen, "held out by another source")
            seen = seen.union(map(_letters, sentences(splits[name])))
    return {name: found[name] for name in splits}


def _without(name: str, split: Split, seen: Container[str], whose: str) -> Split:
    kept = [i for i, sentence in enumerate(sentences(split)) if _letters(sentence) not in seen]
    if len(kept) == len(split):
        return split
    told = f"{len(split) - len(kept)} of {len(split)} sentences of {name} are {whose}, too, and left out"
    if not kept:
        raise InputError(f"{told}: nothing is left to learn from; name other data in config.data or config.target.")
    logging.getLogger(__name__).warning(told)
    return split.take(kept)


def _letters(sentence: str) -> str:
    """What two copies of a sentence share, spaced, bracketed and coded as different sets do: letters and digits."""
    bare = "".join(filter(str.isalnum, sentence.casefold().replace("-lrb-", "").replace("-rrb-", "")))
    plain = "".join(filter(str.isascii, bare))
    return (plain if 2 * len(plain) >= len(bare) else bare) or " ".join(sentence.split())


def tokenised(dataset: Dataset, text: Text) -> Dataset:
    """Tokens in place of all sentences, and the tags of words at theirs; it says how many are cut."""
    parts, vocabulary = {}, hashlib.sha256(text.to_json().encode()).hexdigest()
    for name, split in dataset.splits.items():
        held = sentences(split)
        rows, cut = text.rows(held)
        labels = at_tokens(name, split, held, text) if split.field == "words" else split.labels
        if cut:
            logging.getLogger(__name__).warning(
                "%d of %d sentences of %s are longer than %d tokens, and cut: see config.text.length",
                *(cut, len(split), name, text.length),
            )
        how = {"load": rows.__getitem__, "labels": labels, "field": "tokens", "in_memory": True}
        how["origin"] = f"{split.origin}/{vocabulary}" if split.origin else ""
        parts[name] = dataclasses.replace(split, **how)
    return dataclasses.replace(dataset, splits=parts)


def at_tokens(name: str, split: Split, sentences: Sequence[Sequence[str]], text: Text) -> dict[str, np.ndarray]:
    """The tags of words as (N, length) of tokens; it says how many words have none of these.

    The first piece of a word bears its tag, other pieces and padding none (Devlin et al. 2019, section 5.3).
    """
    words = text.words_at(sentences)
    count = sum(map(len, sentences))
    if lost := count - int((words >= 0).sum()):
        logging.getLogger(__name__).warning(
            "%d of %d words of %s have no token, cut off or without a letter: no tag of theirs is learnt or asked for, "
            "and figures of entities are of the other words",
            *(lost, count, name),
        )
    return {
        task: np.where(words >= 0, np.take_along_axis(tags, np.maximum(words, 0), axis=1), NONE)
        for task, tags in split.labels.items()
    }


def split_of(lines: Sequence[Sentence], text: Text) -> Split:
    """Sentences to be answered, as tokens; InputError for an empty one."""
    for number, line in enumerate(lines, start=1):
        if not (line.strip() if isinstance(line, str) else line):
            raise InputError(f"text {number} of {len(lines)} is empty: there is nothing to predict, leave it out.")
        try:
            "".join(line).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"text {number} of {len(lines)} is not utf-8: {error.reason}.") from error
    field = "text" if all(isinstance(line, str) for line in lines) else "words"
    asked = Split(lines.__getitem__, {}, [str(line) for line in lines], field=field)
    return tokenised(Dataset({"the given": asked}, (), ""), text).splits["the given"]
