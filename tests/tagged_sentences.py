"""Sentences with names, made of templates for the tests alone; `python tests/tagged_sentences.py` writes them."""

from __future__ import annotations

import pathlib
import random

FILE = pathlib.Path(__file__).parent / "golden" / "tagged.txt"
NAMES = {
    "PER": ("anna", "ben", "clara", "dan", "anna lee", "ben cole"),
    "LOC": ("rome", "paris", "new york", "oslo"),
    "ORG": ("acme", "red cross", "globex"),
}
TEMPLATES = (
    "PER went to LOC .",
    "PER works for ORG in LOC .",
    "the ORG office in LOC was closed .",
    "it was cold in LOC today .",
    "PER met PER at ORG .",
    "nothing was said .",
    "LOC and LOC are far from here .",
)


def content(count: int = 160, seed: int = 0) -> str:
    """So many sentences, as CoNLL-2003 has them."""
    draw, lines = random.Random(seed), ["-DOCSTART- -X- O", ""]
    for _ in range(count):
        for word in draw.choice(TEMPLATES).split():
            name = draw.choice(NAMES[word]).split() if word in NAMES else []
            lines += [f"{part} X {'I' if i else 'B'}-{word}" for i, part in enumerate(name)] or [f"{word} X O"]
        lines.append("")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(content())
