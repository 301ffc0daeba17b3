"""Knowledge graphs: files of triples (head, relation, tail) as questions (head, relation) with their answers."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import logging
import lzma
import os
import pathlib
import tarfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from tl.data.base import Dataset, Split
from tl.errors import InputError, unknown

FILES = {"train": "train.txt", "val": "valid.txt", "test": "test.txt"}
INVERSE = "^-1"  # what the name of a relation ends with that is read from tail to head

Triple = tuple[str, str, str]


def kg(argument: str, task: str) -> Dataset:
    """`kg:FILE.tar.gz` or `kg:FOLDER` with train.txt, valid.txt and test.txt: a triple a line, tabs between.

    Each triple (h, r, t) is two rows `triple`, (h, r) with the answer t and (t, r^-1) with the answer h, first all of
    the one kind. Rows of val and test hold `known` (K,), the other answers in any of the three files, filled with -1.
    Entities are those of all files, as everywhere in the literature: one that train does not know is learnt as a wrong
    answer alone, to every question, so it is found worse than by chance, and its triples count. A relation that train
    does not know is an error.
    """
    texts = _read(pathlib.Path(argument).expanduser())
    triples = _parsed(texts, argument)
    every = [triple for part in triples.values() for triple in part]
    entities = tuple(sorted({name for head, _, tail in every for name in (head, tail)}))
    forward = tuple(sorted({between for _, between, _ in every}))
    _check_trained(triples, argument)
    numbers = {name: i for i, name in enumerate(entities)}, {name: i for i, name in enumerate(forward)}
    rows = {name: _both_ways(part, *numbers) for name, part in triples.items()}
    relations = (*forward, *(name + INVERSE for name in forward))
    if twins := set(forward) & {name + INVERSE for name in forward}:
        raise InputError(f"'{argument}' names both a relation and '{min(twins)}', its way back: leave out one of them.")
    known = _answers(np.concatenate(list(rows.values())))
    parts = {name: _split(part, entities, relations, None if name == "train" else known) for name, part in rows.items()}
    digest = hashlib.sha256(b"\0".join(texts[name] for name in FILES)).hexdigest()
    return Dataset(parts, entities, digest, relations=relations)


def triples_of(source: str) -> list[Triple]:
    """All triples of `kg:FILE`, those of the three files; InputError for what is no knowledge graph."""
    reader, _, argument = os.path.expandvars(source).partition(":")
    if reader != "kg":
        raise InputError(f"'{source}' is no knowledge graph: name one as kg:FILE.tar.gz or kg:FOLDER.")
    return [one for part in _parsed(_read(pathlib.Path(argument).expanduser()), argument).values() for one in part]


def _parsed(texts: Mapping[str, bytes], source: str) -> dict[str, list[Triple]]:
    return {name: _parse(texts[name], FILES[name], source) for name in FILES}


def _read(path: pathlib.Path) -> dict[str, bytes]:
    """The three files' bytes, from a folder or from anywhere in a tar file."""
    found: dict[str, bytes] = {}
    if path.is_dir():
        found = {name: (path / file).read_bytes() for name, file in FILES.items() if (path / file).is_file()}
    elif path.is_file():
        try:
            with tarfile.open(path, "r:*") as archive:
                for member in archive:
                    name = next((n for n, file in FILES.items() if pathlib.PurePath(member.name).name == file), None)
                    held = archive.extractfile(member) if name else None
                    if name and held:
                        if name in found:
                            raise InputError(f"'{path}' holds {FILES[name]} twice: it must be of one graph.")
                        found[name] = held.read()
        except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"'{path}' cannot be read as a tar file: {error}.") from error
    else:
        raise InputError(f"no such file or folder: '{path}' (data=kg:FILE.tar.gz or kg:FOLDER).")
    missing = [file for name, file in FILES.items() if name not in found]
    if missing:
        raise InputError(
            f"'{path}' has no {' and no '.join(missing)}: a knowledge graph is {', '.join(FILES.values())}."
        )
    return found


def _parse(text: bytes, file: str, source: str) -> list[Triple]:
    """The triples of a file; InputError for one without any, and for a line that is none."""
    try:
        lines = text.decode("utf-8-sig").rstrip("\r\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} of '{source}' is no text in UTF-8: {error}.") from error
    if lines == [""]:
        raise InputError(f"{file} of '{source}' is empty: it needs a triple a line.")
    found: list[Triple] = []
    for number, line in enumerate(lines, start=1):
        match [part.strip() for part in line.split("\t")]:
            case [head, between, tail] if head and between and tail:
                found.append((head, between, tail))
            case _:
                raise InputError(
                    f"line {number} of {file} of '{source}' is not head, relation and tail with a tab between: "
                    f"{line.strip()[:80]!r}."
                )
    return found


def _check_trained(triples: Mapping[str, list[Triple]], source: str) -> None:
    """InputError for a relation that train does not know; a line on the log for entities and for triples held twice."""
    learnt = {between for _, between, _ in triples["train"]}
    strange = sorted({between for part in triples.values() for _, between, _ in part} - learnt)
    if strange:
        raise InputError(
            f"{len(strange)} relations of '{source}' are not in train.txt, such as '{strange[0]}': nothing can be "
            "learnt of them; take their triples out."
        )
    for name, earlier in (("val", ("train",)), ("test", ("train", "val"))):
        known = set().union(*(triples[part] for part in earlier))
        if again := len(triples[name]) - len(set(triples[name]) - known):
            logging.getLogger(__name__).warning(
                "%d of the %d triples of %s of '%s' are in %s, too, or there twice: figures are too good by them",
                *(again, len(triples[name]), FILES[name], source, " or ".join(FILES[part] for part in earlier)),
            )
    seen = {name for head, _, tail in triples["train"] for name in (head, tail)}
    new = {name for part in triples.values() for head, _, tail in part for name in (head, tail)} - seen
    if new:
        touched = sum(head in new or tail in new for name in ("val", "test") for head, _, tail in triples[name])
        logging.getLogger(__name__).warning(
            "%d entities of '%s' are not in train.txt, but in %d triples of valid.txt and test.txt, which count: "
            "they are learnt as wrong answers alone, so found worse than by chance",
            len(new),
            source,
            touched,
        )


def _both_ways(part: list[Triple], entities: Mapping[str, int], relations: Mapping[str, int]) -> np.ndarray:
    """(2 N, 3): entity, relation and answer of every triple, then of every triple read backwards."""
    there = np.array([(entities[h], relations[r], entities[t]) for h, r, t in part], np.int32)
    back = np.stack([there[:, 2], there[:, 1] + len(relations), there[:, 0]], axis=1)
    return np.concatenate([there, back])


def questions(triples: Sequence[Triple]) -> tuple[Split, tuple[str, ...], tuple[str, ...]]:
    """The triples as rows of train, both ways, with their entities and relations in order of their numbers."""
    entities = tuple(sorted({name for head, _, tail in triples for name in (head, tail)}))
    forward = tuple(sorted({between for _, between, _ in triples}))
    numbers = {name: i for i, name in enumerate(entities)}, {name: i for i, name in enumerate(forward)}
    relations = (*forward, *(name + INVERSE for name in forward))
    split = _split(_both_ways(list(triples), *numbers), entities, relations, None)
    digest = hashlib.sha256(repr(triples).encode()).hexdigest()
    return dataclasses.replace(split, origin=digest), entities, relations


def _answers(rows: np.ndarray) -> dict[tuple[int, int], set[int]]:
    found: dict[tuple[int, int], set[int]] = {}
    for entity, between, answer in rows.tolist():
        found.setdefault((entity, between), set()).add(answer)
    return found


def _split(
    rows: np.ndarray,
    entities: tuple[str, ...],
    relations: tuple[str, ...],
    known: Mapping[tuple[int, int], set[int]] | None,
) -> Split:
    labels = {"label": rows[:, 2].copy()}
    if known is not None:
        others = [sorted(known[entity, between] - {answer}) for entity, between, answer in rows.tolist()]
        labels["known"] = np.full((len(rows), max(1, *map(len, others))), -1, np.int32)
        for place, found in enumerate(others):
            labels["known"][place, : len(found)] = found
    names = [f"{entities[entity]} {relations[between]}" for entity, between in rows[:, :2].tolist()]
    return Split(rows[:, :2].copy().__getitem__, labels, names, in_memory=True, field="triple")


def question(text: str, entities: Sequence[str], relations: Sequence[str]) -> tuple[int, int]:
    """The numbers of "HEAD RELATION", with a tab between where a name holds a space; InputError for unknown ones."""
    parts = text.split("\t") if "\t" in text else text.split()
    if len(parts) != 2:
        raise InputError(f"'{text}' is no question: write 'HEAD RELATION', or 'TAIL RELATION{INVERSE}'.")
    for what, name, known in zip(
        ("entity of the graph", "relation of the graph"), parts, (entities, relations), strict=True
    ):
        if name not in known:
            raise unknown(what, name, difflib.get_close_matches(name, known) or [*known[:10], "..."])
    return entities.index(parts[0]), relations.index(parts[1])
