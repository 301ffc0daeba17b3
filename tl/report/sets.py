"""What stands on the page of a set of runs, and of a search: leaders, curves laid over each other, what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl.metrics import lower_is_better
from tl.report import plots, sections
from tl.report.console import main_metric


def leading(metrics: Sequence[str]) -> list[str]:
    """The metrics that rank a set: on target and source, else on test, on val or all; `main_metric`'s comes first."""
    for prefix in ("target/", "test/", "val/"):
        chosen = [metric for metric in metrics if metric.startswith((prefix, "source/"))]
        if chosen:
            first = main_metric(dict.fromkeys(chosen), (prefix,))
            return [first, *(metric for metric in chosen if metric != first)]
    return list(metrics)


def ranked(metric: str, variants: Sequence[str], cells: Mapping) -> list[str]:
    """The variants, the best mean of `metric` first; those without one keep their order at the end."""
    sign = 1 if lower_is_better(metric) else -1

    def place(variant: str) -> float:
        mean = cells.get((variant, metric), (np.nan,))[0]
        return sign * mean if np.isfinite(mean) else np.inf

    return sorted(variants, key=place)


def standing(variant: str, metrics: list[str], variants: list[str], cells: Mapping) -> dict[str, Any]:
    """A variant's line of the leaderboard; the best mean of each metric is marked."""
    line = []
    for metric in metrics:
        means = [cells[v, metric][0] for v in variants if (v, metric) in cells and np.isfinite(cells[v, metric][0])]
        best = (min if lower_is_better(metric) else max)(means, default=None)
        cell = cells.get((variant, metric))
        line.append({"cell": cell, "best": cell is not None and cell[0] == best and len(variants) > 1})
    return {"variant": variant, "line": line}


def strips(metric: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """The `metric` of every run, by variant; None where no variant has several."""
    values = {name: [float(one[metric]) for one in own if one.get(metric) is not None] for name, own in found.items()}
    values = {name: own for name, own in values.items() if own}
    return plots.strip(values, title=metric) if any(len(own) > 1 for own in values.values()) else None


def set_curves(curves: Mapping[str, Sequence[Any]]) -> list[Any]:
    runs = {name: ([rows] if isinstance(rows[0], Mapping) else rows) for name, rows in curves.items() if rows}
    keys = dict.fromkeys(key for several in runs.values() for rows in several for row in rows for key in row)
    sets = [main_metric(keys, (prefix,)) for prefix in ("target/", "val/", "test/")]
    wanted = [key for key in (*sets, "train/loss") if key in keys]
    figures = []
    for key in wanted:
        series = {name: [sections.series_of(rows, key) for rows in several] for name, several in runs.items()}
        series = {name: [run for run in points if len(run[0])] for name, points in series.items()}
        series = {name: points for name, points in series.items() if points}
        if series:
            figures.append(plots.curves(series, title=key))
    return figures


def sweep_figures(trials: Sequence[Mapping[str, Any]], metric: str, importance: Mapping[str, float]) -> list[Any]:
    """What each key explains, and the figure over the values of each."""
    done = [trial for trial in trials if trial["value"] is not None]
    figures = [plots.bars({"": importance}, title="Importance", x="share of the variance")] if importance else []
    for key in trials[0]["params"]:
        tried = [trial["params"][key] for trial in done]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in tried)
        wide = numbers and min(tried) > 0 and max(tried) > 30 * min(tried)
        shown = tried if numbers else [str(value) for value in tried]
        figures.append(plots.spots(shown, [trial["value"] for trial in done], title=metric, name=key, log=wide))
    return figures
