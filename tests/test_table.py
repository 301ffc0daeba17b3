"""Tables of results: the grid, what is still to run, sums by hand, and the script with a mocked run."""

from __future__ import annotations

import io
import json
import math
import pathlib

import pytest
from rich.console import Console

from scripts import table as script
from tl.errors import InputError
from tl.report import results
from tl.report.files import read_lines
from tl.report.table import markdown_table, mean_std, number, print_table, spread

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


def test_sums_by_hand():
    def record(sha, seconds, **metrics):
        return {"config_sha": sha, "metrics": metrics, "commit": sha, "seconds": seconds}

    cells = [results.Cell("m", "s", "f.py", {"seed": i}, i, f"d{i}", ("a",)) for i in range(4)]
    stand = [record("d0", 1.0, a=1.0, b=None), record("d1", 2.0, a=2.0), record("d2", 4.0, a=6.0)]
    stand += [
        record("d0", 99.0, a=100.0),
        record("old", 1.0, a=7.0),
    ]  # a second one of d0, one of an older config
    assert [cell.sha for cell in results.missing(cells, stand)] == ["d3"]
    first, second = results.aggregate(cells, stand, ["a", "b"])
    assert (first["mean"], first["n"], first["seconds"], first["commit"]) == (3.0, 3, 7.0, "d0, d1, d2")
    assert first["std"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert math.isnan(second["mean"])
    assert (second["std"], second["n"]) == (0.0, 1)
    text = results.section("name", [first, second], {"columns": {"a": "A"}}, "run it")
    assert "| method | setting | A | b | seconds | commit |" in text
    assert "| m | s | 3.0000 ± 2.6458 (3) | nan ± - (1) | 7 | d0, d1, d2 |" in text
    assert "In all 7 s" in text


def test_how_figures_are_written():
    assert mean_std([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
    assert mean_std([5.0]) == (5.0, 0.0)
    with pytest.raises(ValueError, match="no values"):
        mean_std([])
    assert spread(0.95123, 0.00412, 3) == "0.9512 ± 0.0041 (3)"
    said = [number(x) for x in (0.5, 12, 1234567, 1234.56, 2e-5, 0.0, float("nan"), None, "x", True)]
    assert said == ["0.5000", "12", "1,234,567", "1,234.6", "2.00e-05", "0.0000", "nan", "nan", "x", "True"]
    assert markdown_table(["a", "b|c"], [["x", 1.5]]) == "| a | b\\|c |\n| --- | --- |\n| x | 1.5000 |\n"


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


def test_errors_are_input_errors():
    with pytest.raises(InputError, match="empty 'cells'"):
        results.check({"name": "t", "metrics": ["a"], "seeds": [0], "cells": [], "seconds_per_cell": 1}, "t")


def test_orders_are_compared_with_that_of_a_metric():
    row = {"setting": "s", "std": 0.0, "n": 3, "seconds": 1.0, "command": "", "commit": "c"}
    figures = {
        "accuracy": (0.9, 0.8, 0.7),
        "same": (3.0, 2.0, 1.0),
        "opposite": (1.0, 2.0, 3.0),
        "equal": (1.0, 1.0, 1.0),
    }
    rows = [
        {**row, "method": method, "metric": metric, "mean": value}
        for metric, values in figures.items()
        for method, value in zip("abc", values, strict=True)
    ]
    found = results.correlations(rows, "accuracy", "make it")
    assert [(one["metric"], one["mean"]) for one in found] == [
        ("same", pytest.approx(1)),
        ("opposite", pytest.approx(-1)),
    ]
    assert found[0] == {**found[0], "method": results.TAU, "setting": "s", "n": 1, "command": "make it"}
    # The first of three exchanged with the second: by hand, pairs weigh 1 / (1 + r) + 1 / (1 + s) over ranks r, s.
    rows += [
        {**row, "method": m, "metric": "exchanged", "mean": v} for m, v in zip("abc", (2.0, 3.0, 1.0), strict=True)
    ]
    (tau,) = (one["mean"] for one in results.correlations(rows, "accuracy", "") if one["metric"] == "exchanged")
    weights = {(0, 1): 1 + 1 / 2, (0, 2): 1 + 1 / 3, (1, 2): 1 / 2 + 1 / 3}
    assert tau == pytest.approx((weights[0, 2] + weights[1, 2] - weights[0, 1]) / sum(weights.values()))
    with pytest.raises(InputError, match="metric to correlate with"):
        results.check({**TOY_TABLE, "correlate": "nothing"}, "toy")


TOY_TABLE = {
    "name": "toy",
    "metrics": ["a"],
    "seconds_per_cell": 1,
    "seeds": [0],
    "cells": [{"method": "m", "setting": "s", "config": "c"}],
}


def test_a_count_that_stays_the_same_is_given_as_it_is():
    assert spread(2_562.0, 0.0, 3) == "2,562 (3)"
    assert spread(1.0, 0.0, 3) == "1.0000 ± 0.0000 (3)"
