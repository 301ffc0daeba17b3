"""Sums of a table's cells by hand, and how figures are written."""

from __future__ import annotations

import math

import pytest

from tl.errors import InputError
from tl.report import results
from tl.report.table import markdown_table, mean_std, number, spread


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
