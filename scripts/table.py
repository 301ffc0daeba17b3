"""Run a table of configs and seeds, each cell once and for good, and write its results.

    python scripts/table.py FILE [--full] [--only NAME] [--list | --no-run | --cells-only] [--part K/N]

Finished cells go to docs/results/NAME.cells.jsonl, to be committed: a cell whose config stands there is never
run again, on no machine. From them come docs/results/NAME.json and, of all tables together, docs/results.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tl.errors import InputError
from tl.report import results
from tl.report.console import duration
from tl.report.files import read_lines, write_atomic
from tl.report.provenance import commit

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main(
    argv: Sequence[str] | None = None,
    *,
    root: pathlib.Path = ROOT,
    load: Callable[[str, Mapping[str, Any]], Any] | None = None,
    digest: Callable[[Any], str] | None = None,
    run: Callable[..., Mapping[str, Any]] | None = None,
) -> int:
    """0 when every cell stands, 1 when one failed, 2 for bad input. The last four arguments are for tests."""
    options = _parse(argv)
    try:
        if load is None or digest is None:
            import tl.config

            load, digest = tl.config.load, tl.config.digest
        path = pathlib.Path(options.config)
        table = read_table(path, full=options.full)
        cells = [cell for cell in results.expand(table, load, digest) if options.only in cell.key]
        if not cells:
            raise InputError(f"--only '{options.only}' names no cell: give a part of a name that --list prints.")
        folder = root / "docs" / "results"
        records = folder / f"{table['name']}.cells.jsonl"
        todo = results.missing(cells, read_lines(records))
        print(_cost(table, cells, todo))
        if options.list:
            waiting = {cell.sha for cell in todo}
            for cell in cells:
                print(f"{'missing' if cell.sha in waiting else 'stands '}  {cell.name}")
            return 0
        own = {cell.sha for cell in cells[options.part[0] - 1 :: options.part[1]]}
        todo = [cell for cell in todo if cell.sha in own]
        failed: list[results.Cell] = []
        if todo and not options.no_run:
            if run is None:
                import tl.build

                run = tl.build.run
            failed = results.run_cells(
                todo,
                records=records,
                workdirs=pathlib.Path(options.workdirs) / table["name"],
                load=load,
                run=run,
                commit=commit(),
            )
        if not options.cells_only:
            # The large grid first: where it stands it is the better figure, and a small run must not hide it.
            both = results.expand(read_table(path, full=True), load, digest)
            both += results.expand(read_table(path, full=False), load, digest)
            results.write_rows(folder / f"{table['name']}.json", rows_of(table, both, records))
            print(f"wrote {folder / table['name']}.json and {write_page(root)}")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(stop or "interrupted: run the same command again to go on.", file=sys.stderr)
        return 130
    for cell in failed:
        print(f"failed: {cell.name}: {results.command(cell)}", file=sys.stderr)
    return 1 if failed else 0


def read_table(path: pathlib.Path, *, full: bool) -> dict[str, Any]:
    """`get_config(full)` of a table's file as a plain dict, checked."""
    if not path.is_file():
        raise InputError(f"there is no table {path}: the tables are in configs/tables/.")
    spec = importlib.util.spec_from_file_location(f"table_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no python file: give one of configs/tables/.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise InputError(f"{path} is no table: it has no get_config.")
    table = module.get_config(full)
    table = table.to_dict() if hasattr(table, "to_dict") else dict(table)
    results.check(table, path.stem)
    return table


def rows_of(table: Mapping[str, Any], cells: Sequence[results.Cell], records: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of the cells that stand, and those that compare orders, where the table asks for them."""
    rows = results.aggregate(cells, read_lines(records), table["metrics"])
    if "correlate" in table:
        line = f"python scripts/table.py configs/tables/{table['name']}.py"
        rows += results.correlations(rows, table["correlate"], line)
    return rows


def write_page(root: pathlib.Path) -> pathlib.Path:
    """Make docs/results.md of every docs/results/NAME.json; titles and notes are in configs/tables/."""
    sections = []
    for path in sorted((root / "docs" / "results").glob("*.json")):
        config = root / "configs" / "tables" / f"{path.stem}.py"
        about = read_table(config, full=False) if config.exists() else {}
        line = f"python scripts/table.py configs/tables/{path.stem}.py"
        sections.append(results.section(path.stem, json.loads(path.read_text()), about, line))
    return write_atomic(root / "docs" / "results.md", results.page(sections))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a table of configs and seeds, each cell once and for good.")
    parser.add_argument("config", help="a file of configs/tables/")
    parser.add_argument("--full", action="store_true", help="the larger form of the table, get_config(full=True)")
    parser.add_argument("--only", default="", metavar="NAME", help="only cells whose name holds this")
    parser.add_argument("--list", action="store_true", help="say which cells stand and which are missing, run nothing")
    writing = parser.add_mutually_exclusive_group()
    writing.add_argument("--cells-only", action="store_true", help="run and append cells, write no table")
    writing.add_argument("--no-run", action="store_true", help="write the tables from the cells that stand")
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="K/N", help="run only each N-th cell, from the K-th on"
    )
    parser.add_argument("--workdirs", default="runs/tables", help="folder of the cells' runs (default: runs/tables)")
    return parser.parse_args(argv)


def _part(text: str) -> tuple[int, int]:
    """(2, 4) of the text 2/4: the second of four processes or machines that share a table."""
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n)):
        raise argparse.ArgumentTypeError(f"'{text}' is no K/N with 1 <= K <= N, such as 1/2")
    return int(k), int(n)


def _cost(table: Mapping[str, Any], cells: Sequence[results.Cell], todo: Sequence[results.Cell]) -> str:
    seconds = table["seconds_per_cell"]
    return (
        f"{table.get('title') or table['name']}: {len(cells)} cells, {len(cells) - len(todo)} stand, "
        f"{len(todo)} to run x about {seconds:g} s = {duration(len(todo) * seconds)}"
    )


if __name__ == "__main__":
    sys.exit(main())
