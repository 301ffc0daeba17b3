"""The pages of the site that are made from the code, so that nothing is said twice: a hook of mkdocs (see mkdocs.yml).

    python -m mkdocs build --strict

A page for each method, from its docstring, the signature of its `make`, the configs that use it and the tables that it
stands in; one of all config keys; and the texts that stand elsewhere in the repository, as `{{ FILE }}` or
`{{ FILE#HEADING }}` on a line of its own: Markdown, or a notebook.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import pathlib
import re
import runpy
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from markdown.extensions.toc import slugify

from scripts.config_keys import keys_page
from tl import config as configs
from tl.report.table import markdown_table, spread

ROOT = pathlib.Path(__file__).resolve().parents[1]
METHODS = ROOT / "tl" / "methods"
INCLUDE = re.compile(r"^\{\{ ([\w./-]+?)(?:#(.+?))? \}\}$", re.MULTILINE)
COMMAND = re.compile(r"\s*([A-Z_]+=\S+ )*python( |$)")
# Where on the site a file of the repository is found.
PLACES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "configs/common.py": "keys.md"}
PLAIN = "finetune"  # the method of every stage that is not about another one


@dataclasses.dataclass(frozen=True)
class Argument:
    name: str
    default: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Described:
    """What a method's file says: `about`, its first paragraph, holds the source, and the equation is the second."""

    name: str
    about: str
    equation: str
    rest: str
    arguments: tuple[Argument, ...]
    of_arguments: str


# --- the hook ------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """A line of the navigation for each method, under the README's heading that it is first named below."""
    entries = next(item["Methods"] for item in config.nav if "Methods" in item)
    entries += [{heading: [{name: f"methods/{name}.md"} for name in found]} for heading, found in grouped().items()]
    return config


def on_files(files: Any, config: Any) -> Any:
    """The pages that no file holds."""
    from mkdocs.structure.files import File

    for path, text in made().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The texts that are named in braces."""
    return INCLUDE.sub(lambda found: included(found[1], found[2] or ""), markdown)


def made() -> dict[str, str]:
    """{path on the site: Markdown} of all pages that are made."""
    pages = {f"methods/{name}.md": method_page(described(METHODS / f"{name}.py")) for name in names()}
    return {**pages, "methods/index.md": index_page(), "keys.md": keys_page(ROOT / "configs" / "common.py")}


# --- texts that stand elsewhere ------------------------------------------------------------------------------


def included(file: str, heading: str) -> str:
    """A Markdown file of the repository, what stands in it before the first or below the `heading`, or a notebook."""
    text = (ROOT / file).read_text()
    if file.endswith(".ipynb"):
        return notebook(text)
    if heading:
        text = sections(text)["" if heading == "top" else heading]
    return relinked(text)


def sections(text: str) -> dict[str, str]:
    """{heading of the second level: it and what stands below}; what stands before the first is ``."""
    head, *others = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return {"": head} | {other.partition("\n")[0].removeprefix("## "): other for other in others}


def relinked(text: str) -> str:
    """Links from the root of the repository as links on the site."""

    def link(found: re.Match[str]) -> str:
        return f"]({PLACES.get(found[1], found[1].removeprefix('docs/'))})"

    return re.sub(r"\]\(((?!http)[^)#]+)\)", link, text)


def notebook(text: str) -> str:
    """The cells of a notebook."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts)


# --- methods -------------------------------------------------------------------------------------------------


@functools.cache
def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in METHODS.glob("*.py") if path.stem not in ("__init__", "base")))


@functools.cache
def described(path: pathlib.Path) -> Described:
    """What stands in a method's file; arguments without a default are facts that the run fills in, and left out."""
    tree = ast.parse(path.read_text())
    about, equation, rest = parted(ast.get_docstring(tree) or "")
    make = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "make")
    arguments = tuple(
        Argument(given.arg, ast.unparse(default), ast.unparse(given.annotation) if given.annotation else "")
        for given, default in zip(make.args.kwonlyargs, make.args.kw_defaults, strict=True)
        if default is not None
    )
    return Described(path.stem, about, equation, rest, arguments, ast.get_docstring(make) or "")


def parted(docstring: str) -> tuple[str, str, str]:
    """The first paragraph of a docstring, the second, which is the equation, and all others."""
    about, equation, *others = [*docstring.split("\n\n"), ""]
    return about, textwrap.dedent(equation).strip(), "\n\n".join(others).strip()


def grouped() -> dict[str, list[str]]:
    """{heading of the README: the methods first named below it}, in the README's order; others below the last."""
    texts = sections((ROOT / "README.md").read_text())
    found: dict[str, list[str]] = {heading: [] for heading in texts if heading}
    for name in names():
        wanted = (rf"`{name}`|configs/{name}\.py", rf"\b{name}\b")
        named = (heading for pattern in wanted for heading in found if re.search(pattern, texts[heading]))
        found[next(named, list(found)[-1])].append(name)
    return {heading: members for heading, members in found.items() if members}


def method_page(method: Described) -> str:
    parts = [f"# {method.name}", linked(method.about), f"```text\n{method.equation}\n```"]
    parts += [f"[What the letters mean](index.md). Source: `tl/methods/{method.name}.py`."]
    parts += [linked(method.rest), "## Hyper-parameters", arguments_of(method), "## Commands"]
    users = [path for path, used in users_of_methods().items() if method.name in used]
    similar = f"`--config.method={method.name}` with the config of a similar one."
    parts += [config_text(path) for path in users] or [similar]
    if tables := list(tables_of(method.name)):
        parts += ["## Results", *tables]
    return "\n\n".join(filter(None, parts)) + "\n"


def arguments_of(method: Described) -> str:
    rows = [[f"`{given.name}`", f"`{given.default}`", given.kind] for given in method.arguments]
    table = markdown_table(["method_args", "default", "type"], rows) if rows else ""
    return f"{table}\n{method.of_arguments}".strip() or "None."


def linked(text: str) -> str:
    """With the papers' numbers as links."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def index_page() -> str:
    letters = ast.get_docstring(ast.parse((METHODS / "__init__.py").read_text())) or ""
    lines = ["# Methods", "", letters, ""]
    for heading, members in grouped().items():
        rows = [
            [f"[{name}]({name}.md)", described(METHODS / f"{name}.py").about.replace("\n", " ")] for name in members
        ]
        lines += [f"## {heading}", "", markdown_table(["method", "what it is"], rows)]
    return "\n".join(lines)


@functools.cache
def users_of_methods() -> Mapping[pathlib.Path, frozenset[str]]:
    """{config file: the methods that it is about}."""
    folder = ROOT / "configs"
    paths = [path for place in (folder, folder / "recipes") for path in sorted(place.glob("*.py"))]
    return {path: about(configs.load(str(path))) for path in paths if "def get_config(arg" in path.read_text()}


def about(config: Any) -> frozenset[str]:
    """The methods of a config and of its stages; of plain supervised ones only where there is no other."""
    stages = [dict(stage) for stage in config.stages] or [{}]
    used = {stage.get("method", config.method) for stage in stages}
    return frozenset(used - {PLAIN} or used)


def config_text(path: pathlib.Path) -> str:
    """A config's docstring, its commands as blocks."""
    lines: list[str] = []
    for line in (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines():
        if COMMAND.match(line):
            again = lines[-2:] == ["```", ""]
            lines = lines[:-2] if again else [*lines, "", "```sh"]
            lines += [line.strip(), "```", ""]
        else:
            lines.append(line)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return linked(f"### `{path.relative_to(ROOT)}`\n\n{text}")


def tables_of(name: str) -> Iterator[str]:
    """Of each table that has rows of the method these, by the first of the table's metrics that a row has."""
    for path, cells in tables().items():
        first = {key: row for used, key, row in cells if name in used}
        if first:
            table = runpy.run_path(str(ROOT / "configs" / "tables" / f"{path.stem}.py"))["get_config"](False)
            title, columns = table.get("title", path.stem), table.get("columns", {})
            rows = [
                [*key, columns.get(row["metric"], row["metric"]), spread(row["mean"], row["std"], row["n"])]
                for key, row in first.items()
            ]
            shown = markdown_table(["method", "setting", "figure", "mean ± deviation (runs)"], rows)
            yield f"Of [{title}](../results.md#{slugify(title, '-')}):\n\n{shown}"


@functools.cache
def tables() -> dict[pathlib.Path, list[tuple[frozenset[str], tuple[str, str], Mapping[str, Any]]]]:
    """{table: [(the methods that a cell is about, its method and setting as the table calls them, its first row)]}."""
    found = {}
    for path in sorted((ROOT / "docs" / "results").glob("*.json")):
        first: dict[tuple[str, str], Mapping[str, Any]] = {}
        for row in json.loads(path.read_text()):
            if not row["metric"].startswith("time/"):
                first.setdefault((row["method"], row["setting"]), row)
        found[path] = [(methods_of(row["command"]), key, row) for key, row in first.items()]
    return found


def methods_of(command: str) -> frozenset[str]:
    """What a cell of a table was about, by the command that runs it."""
    words = shlex.split(command)
    if "--config" not in words:
        return frozenset()  # a figure made of other figures
    named = next((word.partition("=")[2] for word in words if word.startswith("--config.method=")), "")
    return frozenset({named}) if named else users_of_methods()[ROOT / words[words.index("--config") + 1]]
