"""Entities in a sentence, one tag a word: runs of words of one type, as CoNLL's conlleval reads them.

Tjong Kim Sang and De Meulder 2003 (arXiv:cs/0306050); a tag is O, outside, or a place in an entity and its type: B-PER.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OUTSIDE = "O"
NONE = -1  # in place of a tag's number, at a token that no loss and no metric asks about
PLACES = ("B", "I", "E", "S")  # an entity's first word, one inside, its last, its only one


def is_tag(tag: str) -> bool:
    """Whether it is one of these."""
    place, dash, kind = tag.partition("-")
    return tag == OUTSIDE or bool(place in PLACES and dash and kind)


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, the word behind its last) of each entity.

    Where B- was forgotten, or never is written but between two entities (IOB1), one begins with the first tag of its
    type; E- and S- end one.
    """
    found, begin, inside, ended = [], 0, "", False
    for word, tag in enumerate((*tags, OUTSIDE)):
        place, _, kind = tag.partition("-")
        if inside and (ended or kind != inside or place in ("B", "S")):
            found.append((inside, begin, word))
            inside = ""
        if kind and not inside:
            inside, begin = kind, word
        ended = place in ("E", "S")
    return found


def bio(tags: Sequence[str]) -> list[str]:
    """The same entities by B- and I- alone: each begins with B-."""
    found = [OUTSIDE] * len(tags)
    for kind, begin, end in spans(tags):
        found[begin:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - begin - 1)]
    return found


def names(types: Iterable[str]) -> tuple[str, ...]:
    """All tags of these types, O first."""
    return (OUTSIDE, *(f"{place}-{kind}" for kind in sorted(types) for place in "BI"))


def types(tags: Iterable[str]) -> tuple[str, ...]:
    """The types of these tags, in order of the alphabet."""
    return tuple(sorted({tag.partition("-")[2] for tag in tags} - {""}))
