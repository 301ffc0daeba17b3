"""What differs between two runs, or sets of runs: in their configs and in what came out.

    python scripts/compare.py RUN RUN [--all]

`--all` names the figures that are equal, too. A run that is not finished is compared by its last evaluation.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tl.errors import InputError
from tl.report.files import read_rows

FIGURES = ("val/", "test/", "target/", "earlier/", "groups/", "known_group/")
ABOUT = (
    "params/total",
    "params/trained",
    "params/optimizer_bytes",
    "steps",
    "time/images_per_s",
    "time/wall_s",
    "commit",
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, type=pathlib.Path, metavar="RUN")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args(argv)
    from tl.report import sections, table

    try:
        configs, results = zip(*(read(folder) for folder in options.runs), strict=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = [str(folder) for folder in options.runs]
    differing = sections.differences(dict(zip(("one", "other"), configs, strict=True)))
    if differing:
        table.print_table("config", ["key", *names], [[key, *values] for key, values in differing])
    else:
        print("the configs are the same.")
    rows = side_by_side(*results, every=options.all)
    if rows:
        table.print_table("result", ["figure", *names, "difference"], rows)
    else:
        print("the results are the same.")
    return 0


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Config and summary of a run; InputError for a folder that holds none."""
    if not (folder / "config.json").is_file():
        raise InputError(f"'{folder}' is no run: it has no config.json; give the --workdir of a run.")
    config = json.loads((folder / "config.json").read_text())
    if (folder / "summary.json").is_file():
        return config, json.loads((folder / "summary.json").read_text())
    rows = read_rows(folder)
    if not rows:
        raise InputError(
            f"'{folder}' has neither summary.json nor rows in metrics.jsonl: let it run for a while first."
        )
    return config, {key: value for row in rows for key, value in row.items()}


def side_by_side(one: Mapping[str, Any], other: Mapping[str, Any], *, every: bool) -> list[list[Any]]:
    """[figure, its value in both, the difference] of those that differ, or of `every` one."""
    said = [f"/{key}" for key in dict.fromkeys([*one, *other])]  # those of a set begin with the variant
    keys = [key[1:] for key in said if any(f"/{kind}" in key for kind in FIGURES) and not key.endswith("/std")]
    rows = []
    for key in [*keys, *(key for key in ABOUT if key in one or key in other)]:
        values = [run.get(key, "") for run in (one, other)]
        if values[0] == values[1] and not every:
            continue
        numbers = all(isinstance(value, int | float) for value in values)
        rows.append([key, *values, f"{values[1] - values[0]:+.4g}" if numbers else ""])
    return rows


if __name__ == "__main__":
    sys.exit(main())
