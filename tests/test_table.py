"""The script of tables with a mocked run: the grid, what is still to run, what it writes and refuses."""

from __future__ import annotations

import io
import json
import math
import pathlib

import pytest
from rich.console import Console

from scripts import table as script
from tl.report.files import read_lines
from tl.report.table import print_table

ROOT = pathlib.Path(__file__).resolve().parents[1]

TABLE = """
def get_config(full):
    return {
        "name": "toy", "title": "A toy", "metrics": ["test/accuracy"], "seconds_per_cell": 40,
        "seeds": [0, 1, 2] if full else [0, 1], "notes": "Only a toy.",
        "cells": [
            {"method": "a|b", "setting": "s", "config": "configs/x.py:data=digits",
             "overrides": {"labels": 5}},
            {"method": "c", "setting": "s", "config": "configs/y.py"},
        ],
    }
"""


class Bench:
    """The script in a folder of its own; its run returns seed / 10 and fails where told."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root, self.runs, self.fail, self.stop = root, [], set(), None
        self.main = script.main
        self.table = root / "configs" / "tables" / "toy.py"
        self.table.parent.mkdir(parents=True)
        self.table.write_text(TABLE)

    def __call__(self, *options: str) -> int:
        arguments = [str(self.table), "--workdirs", str(self.root / "runs"), *options]
        return self.main(arguments, root=self.root, load=self.load, digest=json.dumps, run=self.run)

    def load(self, spec, overrides):
        return {"file": spec, **overrides}

    def run(self, config, workdir, *, quiet, report):
        self.runs.append((config["file"][-4:], config["seed"]))
        if config["seed"] in self.fail:
            raise FloatingPointError("loss is nan")
        if config["seed"] == self.stop:
            raise KeyboardInterrupt("stopped at step 3")
        return {"test/accuracy": config["seed"] / 10, "test/loss": 1.0, "time/wall_s": 2.0}

    @property
    def cells(self) -> pathlib.Path:
        return self.root / "docs" / "results" / "toy.cells.jsonl"

    @property
    def rows(self) -> list[dict]:
        return json.loads((self.root / "docs" / "results" / "toy.json").read_text())


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_cell_that_stands_is_never_run_again(bench, capsys):
    assert bench("--cells-only") == 0
    out = capsys.readouterr().out
    assert "A toy: 4 cells, 0 stand, 4 to run x about 40 s = 2:40" in out
    assert len(bench.runs) == len(read_lines(bench.cells)) == 4
    assert not (bench.root / "docs" / "results.md").exists()
    before = bench.cells.read_bytes()
    assert bench() == 0
    assert "4 stand, 0 to run" in capsys.readouterr().out
    assert len(bench.runs) == 4
    assert bench.cells.read_bytes() == before
    assert bench("--full") == 0
    assert bench.runs[4:] == [("gits", 2), ("y.py", 2)]
    assert bench.rows[0]["n"] == 3
    assert bench() == 0  # the small form again does not hide the large one
    assert bench.rows[0]["n"] == 3


def test_parts_share_the_cells_out(bench, capsys):
    assert bench("--cells-only", "--part", "2/2") == 0
    second = list(bench.runs)
    assert len(second) == 2
    assert bench("--cells-only", "--part", "1/2") == 0
    assert len(set(bench.runs)) == len(bench.runs) == 4
    assert bench("--cells-only", "--part", "2/2") == 0  # its own stand, whatever the others did
    assert len(bench.runs) == 4
    for text in ("3/2", "0/2", "half"):
        with pytest.raises(SystemExit):
            bench("--part", text)
        assert f"'{text}' is no K/N with 1 <= K <= N" in capsys.readouterr().err


def test_an_interrupted_run_ends_the_table(bench, capsys):
    bench.stop = 1
    assert bench() == 130
    assert "stopped at step 3" in capsys.readouterr().err
    assert [record["seed"] for record in read_lines(bench.cells)] == [0]
    bench.stop = None
    assert bench() == 0
    assert len(bench.runs) == 5


def test_records_and_rows(bench):
    assert bench() == 0
    record = read_lines(bench.cells)[1]
    assert set(record) == {"key", "seed", "metrics", "config_sha", "commit", "seconds"}
    assert (record["key"], record["seed"], record["metrics"]) == ("a|b | s", 1, {"test/accuracy": 0.1})
    row = bench.rows[0]
    assert list(row) == ["method", "setting", "metric", "mean", "std", "n", "seconds", "command", "commit"]
    assert row["mean"] == pytest.approx(0.05)
    assert row["std"] == pytest.approx(math.sqrt(2 * 0.05**2))  # ddof=1
    assert row["command"] == ("python main.py --config configs/x.py:data=digits --config.labels=5 --config.seed=0")
    page = (bench.root / "docs" / "results.md").read_text()
    assert "## A toy\n" in page
    assert "python scripts/table.py configs/tables/toy.py" in page
    assert "| a\\|b | s | 0.0500 ± 0.0707 (2) |" in page
    assert "Only a toy." in page


def test_a_row_of_folds_in_place_of_seeds(bench, capsys):
    folds = '"repeats": [{"outer": (i, 3)} for i in range(3)]'
    bench.table.write_text(TABLE.replace('"overrides": {"labels": 5}', f'"overrides": {{"labels": 5}}, {folds}'))
    assert bench("--list") == 0
    assert "missing  a|b | s, seed 0, outer (1, 3)\n" in capsys.readouterr().out
    assert bench() == 0
    assert [seed for _, seed in bench.runs] == [0, 0, 0, 0, 1]
    assert [row["n"] for row in bench.rows] == [3, 2], "one row of the three folds"
    assert bench.rows[0]["command"].endswith("--config.labels=5 '--config.outer=[0, 3]' --config.seed=0")


def test_a_failing_cell_is_said_and_the_others_go_on(bench, capsys):
    bench.fail = {1}
    assert bench() == 1
    captured = capsys.readouterr()
    assert "FAILED: FloatingPointError: loss is nan" in captured.out
    assert "failed: c | s, seed 1: python main.py --config configs/y.py --config.seed=1" in captured.err
    assert [row["n"] for row in bench.rows] == [1, 1]
    assert "0.0000 ± - (1)" in (bench.root / "docs" / "results.md").read_text()
    bench.fail, bench.runs = set(), []
    assert bench() == 0
    assert [seed for _, seed in bench.runs] == [1, 1]


def test_a_metric_that_is_not_in_the_summary_is_a_failure(bench, capsys):
    bench.table.write_text(TABLE.replace("test/accuracy", "test/acuracy"))
    assert bench() == 1
    assert "no test/acuracy in the summary, which has test/accuracy, test/loss" in capsys.readouterr().out
    assert not bench.cells.exists()


def test_a_half_written_cell_is_run_again(bench):
    bench("--cells-only")
    whole = bench.cells.read_text()
    bench.cells.write_text(whole[:-20])
    bench.runs = []
    assert bench("--cells-only") == 0
    assert len(bench.runs) == 1
    assert len(read_lines(bench.cells)) == 4


def test_listing_and_rebuilding_run_nothing(bench, capsys):
    assert bench("--list") == 0
    every = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missing  ")]
    assert len(every) == 4
    assert bench("--list", "--only", every[0].split()[1]) == 0
    assert 0 < capsys.readouterr().out.count("missing  ") < 4
    assert bench("--only", "nobody") == 2
    assert "--only 'nobody' names no cell" in capsys.readouterr().err
    assert bench("--no-run") == 0
    assert bench.rows == []
    assert "No cells yet." in (bench.root / "docs" / "results.md").read_text()
    assert bench.runs == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"notes"', '"note"', "unknown key of the table 'note': did you mean notes"),
        ('"seeds": [0, 1, 2] if full else [0, 1], ', "", "the table toy has no 'seeds'"),
        ('"name": "toy"', '"name": "joy"', "named 'joy': name it 'toy'"),
        ('"method": "c"', '"method": "a|b"', "has two cells ('a|b', 's')"),
        ('"config": "configs/y.py"', '"conf": "y"', "has the keys ['conf', 'method', 'setting']"),
    ],
)
def test_a_bad_table_is_refused_before_anything_runs(bench, capsys, old, new, said):
    assert old in TABLE
    bench.table.write_text(TABLE.replace(old, new))
    assert bench() == 2
    assert said in capsys.readouterr().err
    assert bench.runs == []


def test_what_is_no_table(bench, capsys):
    bench.table.write_text("WAYS = 3\n")
    assert bench() == 2
    assert "is no table: it has no get_config" in capsys.readouterr().err
    bench.table = bench.root / "no.py"
    assert bench() == 2
    assert "there is no table" in capsys.readouterr().err


def test_the_terminal_table_prints_names_as_they_are():
    out = io.StringIO()
    console = Console(file=out, width=80)
    print_table("[bold]t", ["variant", "test/accuracy"], [["[red]", "0.9 ± 0.1 (3)"], ["b", 0.5]], console=console)
    assert "[red]" in out.getvalue()
    assert "0.5000" in out.getvalue()


@pytest.mark.parametrize("full", [False, True])
def test_the_tables_shipped_are_well_formed(full):
    for path in (ROOT / "configs" / "tables").glob("[!_]*.py"):
        table = script.read_table(path, full=full)
        assert all("seed" not in cell.get("overrides", {}) for cell in table["cells"])
