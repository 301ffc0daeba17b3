"""configs/common.py as a page: a comment behind a blank line is a heading, all others are about the key before them."""

from __future__ import annotations

import ast
import io
import pathlib
import tokenize
from collections.abc import Iterator

from tl.report.table import markdown_table


def keys_page(path: pathlib.Path) -> str:
    """The Markdown of the file at `path`."""
    source = path.read_text()
    tree = ast.parse(source)
    lines = ["# Config keys", "", ast.get_docstring(tree) or "", ""]
    for heading, keys in sections_of_keys(source, tree):
        title, _, more = heading.partition(". ")
        rows = [[f"`{name}`", f"`{default}`", meaning] for name, default, meaning in keys]
        lines += [f"## {title.rstrip('.')}", "", more, "", markdown_table(["key", "default", "what it means"], rows)]
    return "\n".join(lines)


def sections_of_keys(source: str, tree: ast.Module) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """[(heading, [(dotted key, default, meaning)])]."""
    above = ["", *source.splitlines()]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    said = {
        token.start[0]: token.string.removeprefix("#").strip() for token in tokens if token.type == tokenize.COMMENT
    }
    get_config = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    entries = {line: (name, ast.unparse(value)) for line, name, value in assigned(get_config)}
    found: list[tuple[str, list[tuple[str, str, str]]]] = []
    heading = False
    for line in range(get_config.lineno, (get_config.end_lineno or 0) + 1):
        if line in entries:
            heading = False
            found[-1][1].append((*entries[line], said.get(line, "")))
        elif line in said and (heading or not above[line - 1].strip()):
            text = f"{found.pop()[0]} {said[line]}" if heading else said[line]
            found.append((text, []))
            heading = True
        elif line in said:
            name, default, meaning = found[-1][1].pop()
            found[-1][1].append((name, default, f"{meaning} {said[line]}"))
    return found


def assigned(function: ast.FunctionDef) -> Iterator[tuple[int, str, ast.expr]]:
    """(last line, dotted key, default) of every `c.KEY = ...` of the function, of each entry of a table by itself."""
    for node in function.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            name = node.targets[0].attr
            if isinstance(node.value, ast.Dict) and node.value.keys:
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    yield value.end_lineno or 0, f"{name}.{ast.literal_eval(key or node)}", value
            else:
                yield node.end_lineno or 0, name, node.value
