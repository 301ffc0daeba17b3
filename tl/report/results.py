"""Tables of results: a grid of cells, each run once and kept, and the pages made from what is kept."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import weightedtau

from tl.errors import InputError, unknown
from tl.report.files import append_line, plain, read_lines, write_atomic
from tl.report.table import markdown_table, mean_std, number, spread

REQUIRED = {"name", "metrics", "seeds", "cells", "seconds_per_cell"}
OPTIONAL = {"title", "columns", "notes", "correlate"}
TAU = "weighted Kendall tau"
CELL = {"method", "setting", "config", "overrides", "metrics", "repeats"}
OPEN = {"overrides", "metrics", "repeats"}  # what a cell may leave out


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a table: a config, its overrides and one seed. `sha` is the resolved config's digest.

    `metrics` are those of the table's that its summary has; `varied` are the keys beside the seed in which the runs of
    a row differ.
    """

    method: str
    setting: str
    config: str
    overrides: Mapping[str, Any]
    seed: int
    sha: str
    metrics: tuple[str, ...]
    varied: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.method} | {self.setting}"

    @property
    def name(self) -> str:
        """The key of its row, and which of the row's runs it is."""
        return ", ".join([self.key, f"seed {self.seed}", *(f"{key} {self.overrides[key]}" for key in self.varied)])


def check(table: Mapping[str, Any], stem: str) -> None:
    """Refuse a table whose keys, names or cells are not as they must be; raises InputError."""
    keys = set(table)
    for key in sorted(keys - REQUIRED - OPTIONAL):
        raise unknown("key of the table", key, sorted(REQUIRED | OPTIONAL))
    for key in sorted(REQUIRED - keys):
        raise InputError(f"the table {stem} has no '{key}': add it.")
    if table["name"] != stem:
        raise InputError(f"the table in {stem}.py is named '{table['name']}': name it '{stem}', as its file is.")
    for key in ("metrics", "seeds", "cells"):
        if not table[key]:
            raise InputError(f"the table {stem} has empty '{key}': give at least one.")
    if table.get("correlate", table["metrics"][0]) not in table["metrics"]:
        raise unknown("metric to correlate with", table["correlate"], table["metrics"])
    seen = set()
    for cell in table["cells"]:
        if set(cell) - OPEN != CELL - OPEN:
            raise InputError(f"a cell of the table {stem} has the keys {sorted(cell)}: give {sorted(CELL)}.")
        for metric in cell.get("metrics", ()):
            if metric not in table["metrics"]:
                raise unknown(f"metric of a cell of the table {stem}", metric, table["metrics"])
        name = (cell["method"], cell["setting"])
        if name in seen:
            raise InputError(f"the table {stem} has two cells {name}: give each its own method or setting.")
        seen.add(name)


def expand(
    table: Mapping[str, Any], load: Callable[[str, Mapping[str, Any]], Any], digest: Callable[[Any], str]
) -> list[Cell]:
    """All cells of a table, a row's runs behind one another; loads each config, so a bad one fails here.

    The runs of a row are one for each of the table's seeds or, where it has `repeats`, one for each of these changes,
    such as {"outer": (0, 10)}, with the first seed.
    """
    cells = []
    for entry in table["cells"]:
        runs = [(seed, {}) for seed in table["seeds"]]
        runs = [(table["seeds"][0], change) for change in entry.get("repeats", ())] or runs
        for seed, change in runs:
            overrides = {**entry.get("overrides", {}), **change, "seed": seed}
            sha = digest(load(entry["config"], overrides))
            own = tuple(entry.get("metrics", table["metrics"]))
            names = entry["method"], entry["setting"], entry["config"]
            cells.append(Cell(*names, overrides, seed, sha, own, tuple(change)))
    return cells


def kept(records: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """{config_sha: record}; the first record of a digest stands (the seed is part of the config)."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        found.setdefault(record["config_sha"], record)
    return found


def missing(cells: Sequence[Cell], records: Iterable[Mapping[str, Any]]) -> list[Cell]:
    """The cells still to be run, each digest once."""
    stands = set(kept(records))
    return [cell for sha, cell in {cell.sha: cell for cell in cells}.items() if sha not in stands]


def run_cells(
    todo: Sequence[Cell],
    *,
    records: pathlib.Path,
    workdirs: pathlib.Path,
    load: Callable[[str, Mapping[str, Any]], Any],
    run: Callable[..., Mapping[str, Any]],
    commit: str,
    say: Callable[[str], None] = print,
) -> list[Cell]:
    """Run cells one after the other, appending each to `records` as it ends; returns those that failed.

    A cell fails when its run raises, or when its summary lacks one of its metrics; the others go on.
    """
    failed = []
    for place, cell in enumerate(todo, start=1):
        say(f"[{place}/{len(todo)}] {cell.name}")
        # Another process on these files may have finished it since the start.
        if cell.sha in kept(read_lines(records)):
            say("  stands already")
            continue
        try:
            folder = workdirs / cell.sha
            summary = run(load(cell.config, cell.overrides), str(folder), quiet=True, report=False)
            lacking = [name for name in (*cell.metrics, "time/wall_s") if name not in summary]
            if lacking:
                raise InputError(f"no {', '.join(lacking)} in the summary, which has {', '.join(sorted(summary))}.")
        except Exception as error:  # whatever it was, the other cells are worth having
            say(f"  FAILED: {type(error).__name__}: {error}")
            failed.append(cell)
            continue
        seconds = summary["time/wall_s"]  # the run's own: it may have been resumed, or have ended earlier
        values = {name: summary[name] for name in cell.metrics}
        record = {"key": cell.key, "seed": cell.seed, "metrics": values, "config_sha": cell.sha}
        append_line(records, {**record, "commit": commit, "seconds": round(seconds, 1)})
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # of hundreds of cells they fill a disk
        say(f"  {', '.join(f'{name} {number(value)}' for name, value in values.items())}  ({seconds:.0f} s)")
    return failed


def aggregate(
    cells: Sequence[Cell], records: Iterable[Mapping[str, Any]], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows {method, setting, metric, mean, std, n, seconds, command, commit} of the cells that stand.

    `std` is the sample standard deviation (ddof=1), 0 for n = 1; `seconds` are those of all n runs,
    `command` runs the first of them. Records made before a metric was asked for do not count for it.
    Where two configs share method and setting (a grid and its larger form), the first that stands wins.
    """
    stands = kept(records)
    groups: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        if cell.sha in stands:
            alike = {key: value for key, value in cell.overrides.items() if key not in ("seed", *cell.varied)}
            recipe = json.dumps([cell.config, plain(alike)], sort_keys=True)
            members = groups.setdefault((cell.method, cell.setting), {}).setdefault(recipe, [])
            if cell.sha not in {member.sha for member in members}:
                members.append(cell)
    rows = []
    for (method, setting), recipes in groups.items():
        members = next(iter(recipes.values()))
        for metric in metrics:
            found = [stands[cell.sha] for cell in members if metric in stands[cell.sha]["metrics"]]
            if found:
                values = [record["metrics"][metric] for record in found]
                mean, std = mean_std([float("nan") if value is None else value for value in values])
                row = {"method": method, "setting": setting, "metric": metric, "mean": mean, "std": std}
                row |= {"n": len(found), "seconds": round(sum(record["seconds"] for record in found), 1)}
                commits = dict.fromkeys(record["commit"] for record in found)
                rows.append({**row, "command": command(members[0]), "commit": ", ".join(filter(None, commits))})
    return rows


def correlations(rows: Sequence[Mapping[str, Any]], wanted: str, line: str) -> list[dict[str, Any]]:
    """Rows more: how well each other metric puts the methods of a setting in the order of `wanted`.

    The weighted tau of Vigna 2015, in which the first places count most; one order each, so `n` is 1. `line` is the
    command that made them all. A metric without two different values has none.
    """
    found = []
    for setting, metric in dict.fromkeys((row["setting"], row["metric"]) for row in rows):
        both = {
            name: {row["method"]: row["mean"] for row in rows if (row["setting"], row["metric"]) == (setting, name)}
            for name in (wanted, metric)
        }
        methods = [method for method in both[wanted] if method in both[metric]]
        if metric == wanted or len(methods) < 2:
            continue
        scores, reached = ([both[name][method] for method in methods] for name in (metric, wanted))
        tau = float(np.asarray(weightedtau(scores, reached))[0])
        if math.isfinite(tau):
            row = {"method": TAU, "setting": setting, "metric": metric, "mean": tau, "std": 0.0}
            found.append({**row, "n": 1, "seconds": 0.0, "command": line, "commit": ""})
    return found


def command(cell: Cell) -> str:
    """The line that runs one cell alone."""
    changes = [f"--config.{key}={_text(value)}" for key, value in cell.overrides.items()]
    return shlex.join(["python", "main.py", "--config", cell.config, *changes])


def write_rows(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `NAME.json`, one row a line, so that a change of one figure is a change of one line."""
    lines = ",\n".join(json.dumps(plain(dict(row)), ensure_ascii=False, allow_nan=False) for row in rows)
    write_atomic(path, f"[\n{lines}\n]\n" if rows else "[]\n")


def section(name: str, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], line: str) -> str:
    """The markdown of one table: methods and settings down, metrics across; `line` is the command.

    about: the table's config; its `columns` ({metric: heading}), `title` and `notes` are used where given.
    """
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    headings = [about.get("columns", {}).get(metric, metric) for metric in metrics]
    cells = {(row["method"], row["setting"], row["metric"]): row for row in rows}
    lines, seconds = [], 0.0
    for method, setting in dict.fromkeys((row["method"], row["setting"]) for row in rows):
        found = [cells.get((method, setting, metric)) for metric in metrics]
        figures = [spread(row["mean"], row["std"], row["n"]) if row else "" for row in found]
        took = max(row["seconds"] for row in found if row)  # metrics of the same runs: their time counts once
        seconds += took
        commits = dict.fromkeys(commit for row in found if row for commit in row["commit"].split(", "))
        lines.append([method, setting, *figures, f"{took:,.0f}", ", ".join(filter(None, commits)) or "-"])
    text = f"## {about.get('title') or name}\n\n```sh\n{line}\n```\n\n"
    text += markdown_table(["method", "setting", *headings, "seconds", "commit"], lines) if lines else "No cells yet.\n"
    notes = about.get("notes", "")
    text += f"\n{notes.strip()}\n" if notes else ""
    return f"{text}\nIn all {seconds:,.0f} s of running.\n"


def page(sections: Iterable[str]) -> str:
    """`docs/results.md`: what the figures mean, then the tables."""
    head = (
        "# Results\n\n"
        "Made by `scripts/table.py` from the finished cells in `docs/results/`; not written by hand. "
        "Figures are mean ± sample standard deviation over seeds, or folds where a table says so (number of runs); "
        "seconds are their sum.\n"
    )
    return "\n".join([head, *sections])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(plain(value))
