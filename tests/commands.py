"""The commands that stand in the documents and in the docstrings of configs."""

from __future__ import annotations

import ast
import pathlib
import re
import shlex

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"\s*([A-Z_]+=\S+ )*(\S*python3?|pip|sbatch|kubectl|scripts/\w+\.sh)( |$)")


def blocks(text: str, *languages: str) -> list[str]:
    return [body for language, body in BLOCK.findall(text) if language in languages]


def spans(text: str) -> list[str]:
    """Inline code, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def lines_of(block: str) -> list[str]:
    """The commands of a shell block, one each, without comments."""
    whole = [re.sub(r"(^|\s)#\s.*", "", line) for line in block.replace("\\\n", " ").splitlines()]
    return [part.strip() for line in whole for part in line.split("&&") if part.strip()]


def text_of(path: pathlib.Path) -> str:
    """A page, or the docstring of a config."""
    return path.read_text() if path.suffix == ".md" else ast.get_docstring(ast.parse(path.read_text())) or ""


def commands(path: pathlib.Path) -> list[str]:
    """All commands of a page, or of a config's docstring."""
    text = text_of(path)
    if path.suffix == ".py":
        found = [command for line in text.splitlines() if COMMAND.match(line) for command in lines_of(line)]
    else:
        found = [command for block in blocks(text, "sh") for command in lines_of(block)]
    return found + [span for span in spans(text) if COMMAND.match(span)]


def words_of(command: str) -> list[str]:
    """Program and arguments, without settings of the environment, interpreter and brackets around what is optional."""
    words = shlex.split(command)
    words = [re.sub(r"\[(:.+)\]$", r"\1", word) for word in words]
    words = [word.strip("[]") if word.count("[") != word.count("]") else word for word in words]
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words[1:] if re.search(r"python3?$", words[0]) and len(words) > 1 else words
