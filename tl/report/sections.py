"""What stands in the sections of a page: mappings and lists made from rows, summaries, scores and configs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl.report import plots
from tl.report.console import duration, main_metric
from tl.report.files import plain
from tl.report.images import data_uri, grid, heat
from tl.report.table import number

MOST_EXAMPLES = 48
TABLE_CLASSES = 32  # more classes make the confusion matrix a picture
_NO_STREAMS = ("time", "memory", "params", "version", "train", "selected", "score")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings -> {"data.source": "digits"}; lists and the like as JSON."""
    pairs: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            pairs |= flat(value, f"{prefix}{key}.")
        else:
            pairs[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(_json(value), ensure_ascii=False)
    return pairs


def differences(configs: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """[(key, its value in each config)] for the keys that are not the same in all; "" where one lacks it."""
    flats = [flat(config) for config in configs.values()]
    keys = dict.fromkeys(key for pairs in flats for key in pairs)
    table = [(key, [pairs.get(key, "") for pairs in flats]) for key in keys]
    return [(key, values) for key, values in table if len(set(values)) > 1]


def _json(value: Any) -> Any:
    try:
        return plain(value)
    except (TypeError, ValueError):  # a function or a type in a config: its text will do
        return str(value)


def headlines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few numbers one looks for first."""
    numbers = {key: value for key, value in summary.items() if isinstance(value, int | float | np.number)}
    names = [main_metric(numbers, (prefix,)) for prefix in ("target/", "test/", "val/")]
    cards = [(name, number(float(numbers[name]))) for name in names if name]
    if "time/wall_s" in numbers:
        cards.append(("wall time", duration(float(numbers["time/wall_s"]))))
    if "time/images_per_s" in numbers:
        cards.append(("images/s", f"{float(numbers['time/images_per_s']):,.0f}"))
    return cards


def results(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{metric: {stream: value}} of the evaluations (`STREAM/metric`) in a flat summary."""
    table: dict[str, dict[str, Any]] = {}
    for key, value in summary.items():
        stream, _, metric = key.rpartition("/")
        if stream and stream.split("/")[0] not in _NO_STREAMS and isinstance(value, int | float | np.number):
            table.setdefault(metric, {})[stream] = value
    return table


def streams(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The streams of `results`, those of test first."""
    names = {name for values in results.values() for name in values}
    return sorted(names, key=lambda name: ("test" not in name, name))


def told(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of the summary, by the names of the template."""
    table = results(summary)
    shown = {"headlines": headlines(summary), "results": table, "streams": streams(table)}
    return {**shown, "choices": choices(summary), "cost": cost(summary)}


def choices(summary: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """[(rule, step, accuracy on the target)] of the ways to choose that `selection.compared` put into a summary."""
    rules = [key.split("/")[1] for key in summary if key.startswith("selected/") and key.endswith("/target")]
    return [(rule, int(summary[f"selected/{rule}/step"]), float(summary[f"selected/{rule}/target"])) for rule in rules]


def feature_maps(points: np.ndarray | None, domain: Any, labels: Any, classes: Sequence[str]) -> list[Any]:
    """The map of features, by domain where there are two, and by class: figure, legend and a note, "" for none.

    Of more classes than can be told apart those with most images have a mark of their own, in the order of `classes`.
    """
    if points is None:
        return []
    labels = np.asarray(labels)
    counts = np.array([(labels == i).sum() for i in range(len(classes))], int)
    here = int((counts > 0).sum())
    kept = np.sort(np.argsort(-counts, kind="stable")[: min(here, plots.MOST_GROUPS)])
    numbers = np.full(len(labels), -1)
    for place, i in enumerate(kept):
        numbers[labels == i] = place
    names = [str(classes[i]) for i in kept]
    rest = (numbers < 0).sum()
    note = (
        f"{len(kept)} of the {here} classes have a mark of their own, those with most images; "
        f"the other {rest} images are pale."
        if rest
        else ""
    )
    others = "all other classes" if rest else ""
    by_class = {**plots.groups(points, names, numbers, title="features by true class", others=others), "note": note}
    if domain is None:
        return [by_class]
    sides = plots.groups(points, ("source", "target"), np.asarray(domain), title="features by domain")
    return [{**sides, "note": ""}, by_class]


def moved(layers: Sequence[Any]) -> Any:
    """Bars of the change of each `tl.moved.Layer`; None for none."""
    if not layers:
        return None

    def mark(layer: Any) -> str:
        change = "from zeros" if np.isnan(layer.change) else f"{layer.change:.3g}"
        return ("frozen" if layer.frozen else change) + (f", {layer.new:,} new" if layer.new else "")

    changes = {layer.name: 0.0 if np.isnan(layer.change) else layer.change for layer in layers}
    marks = {layer.name: mark(layer) for layer in layers}
    return plots.bars({"": changes}, title="What moved", x="relative change of the parameters", marks=marks)


def class_bars(report: Mapping[str, np.ndarray], classes: Sequence[str]) -> Any:
    """Recall and precision of each class, of many those that are worst by F1; None where two share a name."""
    worst = np.argsort(report["f1"], kind="stable")[:TABLE_CLASSES]
    shown = np.sort(worst) if len(classes) <= TABLE_CLASSES else worst
    names = [str(classes[i]) for i in shown]
    if len(set(names)) < len(names):
        return None
    series = {key: dict(zip(names, map(float, report[key][shown]), strict=True)) for key in ("recall", "precision")}
    title = "By class" if len(classes) <= TABLE_CLASSES else f"The {TABLE_CLASSES} worst classes"
    return plots.bars(series, title=title, x="share of those that are of a class, and of those called so")


def cost(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run took: its times, and the bytes of its state and of all that it held at once."""
    times = {"start_s": "before the first step", "train_s": "training, with its evaluations", "wall_s": "in all"}
    held = {
        "memory/state_bytes": "parameters, statistics, optimiser, memory of the method",
        "params/optimizer_bytes": "of these the optimiser",
        "memory/process_peak_bytes": "the process at its largest, earlier runs in it included",
        "memory/device_peak_bytes": "a device at its fullest",
    }
    rows = [(text, duration(summary[f"time/{key}"])) for key, text in times.items() if f"time/{key}" in summary]
    return rows + [(text, f"{summary[key] / 2**20:,.1f} MiB") for key, text in held.items() if key in summary]


def series_of(rows: Sequence[Mapping[str, Any]], key: str) -> plots.Run:
    """Steps and values of the rows that have a number under `key`."""
    pairs = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), int | float)]
    steps, values = np.array(pairs, np.float64).reshape(-1, 2).T
    return steps, values


def run_curves(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    keys = list(dict.fromkeys(key for row in rows for key in row if key != "step"))
    rates = [key for key in keys if key.rpartition("/")[2] in ("lr", "learning_rate") or "/lr/" in f"/{key}/"]
    losses = [key for key in keys if key.rpartition("/")[2] == "loss"]
    rest = [key for key in keys if key.startswith(("val/", "test/", "target/")) and key not in losses]
    series = {key: [points] for key in keys if len((points := series_of(rows, key))[0])}
    # Scores between 0 and 1 share an axis; errors and counts each have a scale of their own.
    scores = [key for key in rest if key in series and _unit(series[key][0][1])]
    groups = {"Loss": losses, "Evaluation": scores[:8]}
    groups |= {key: [key] for key in rest if key not in scores}
    groups |= {"Learning rate": rates[:8]}
    drawn = {name: {key: series[key] for key in members if key in series} for name, members in groups.items()}
    return [plots.curves(lines, title=name) for name, lines in list(drawn.items())[:8] if lines]


def _unit(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size) and finite.min() >= 0 and finite.max() <= 1


def answers(probabilities: Any, labels: Any, classes: Sequence[str], kind: str, matrix: Any) -> dict[str, Any]:
    """What the page shows of all answers together, by the names of the template."""
    return {
        "scatters": scatters(probabilities, labels, classes) if kind == "regression" else [],
        "calibration": calibration(probabilities, labels, kind),
        "confusion": None if matrix is None else confusion(np.asarray(matrix), classes),
    }


def scatters(predicted: Any, true: Any, names: Sequence[str]) -> list[Any]:
    if predicted is None or true is None or not len(true):
        return []
    predicted, true = (np.asarray(x, np.float64).reshape(len(true), -1) for x in (predicted, true))
    titles = list(names) if len(names) == true.shape[1] else [f"output {i}" for i in range(true.shape[1])]
    return [plots.scatter(true[:, i], predicted[:, i], title=titles[i]) for i in range(min(true.shape[1], 6))]


def calibration(probabilities: Any, labels: Any, kind: str) -> Any:
    if probabilities is None or labels is None or kind not in ("classification", "binary") or not len(labels):
        return None
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        return None
    return plots.reliability(probabilities, np.asarray(labels))


def confusion(counts: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Counts with each row's shares, a picture when there are many classes, and the commonest mistakes."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    off = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    order = [divmod(int(i), len(counts)) for i in np.argsort(-off, axis=None, kind="stable")[:10]]
    names = [str(name) for name in classes] or [str(i) for i in range(len(counts))]
    many = len(counts) > TABLE_CLASSES
    return {
        "names": names,
        "counts": counts.tolist(),
        # A root makes the few mistakes of a good classifier visible beside its full diagonal.
        "strength": np.round(np.sqrt(share), 2).tolist(),
        "picture": data_uri(heat(np.sqrt(share), (74, 124, 216), max(1, 700 // len(counts))), 2000) if many else None,
        "mistakes": [(names[i], names[j], int(off[i, j]), float(share[i, j])) for i, j in order if off[i, j]],
    }


def pictures(rows: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """{what a row is: uint8 (N, H, W, 3)} -> the rows as one picture, and what they are from the top."""
    if not rows:
        return None
    columns = min(map(len, rows.values()))
    picture = grid(np.concatenate([row[:columns] for row in rows.values()]), columns)
    return {"names": list(rows), **enlarged(picture, columns)}


def enlarged(picture: np.ndarray, columns: int) -> dict[str, Any]:
    """A grid of `columns` as `picture`, and the `width` at which each of its small images is 72 pixels wide."""
    width = picture.shape[1]
    small = width <= 64 * columns  # which JPEG would smear
    return {"picture": data_uri(picture, 1200, exact=small), "width": min(1100, max(width, 72 * columns))}


def reported(report: Mapping[str, np.ndarray], names: Sequence[str], kind: str) -> dict[str, Any]:
    """The table of columns over the names of classes, of tags over types of entities, and its bars."""
    columns = {name: np.asarray(column).tolist() for name, column in report.items()}
    rows = [(str(name), list(values)) for name, *values in zip(names, *columns.values(), strict=True)] if report else []
    bars = class_bars(report, names) if rows else None
    return {"class_columns": list(columns), "class_rows": rows, "class_bars": bars, "entities": kind == "tags"}


def examples(examples: Sequence[tuple], classes: Sequence[str], kind: str) -> list[dict[str, Any]]:
    """Mistakes first, the most confident of them leading: they say most about the data and the network.

    A regression is never just right or wrong: its examples keep their order and bear no mark.
    """

    def name(value: Any) -> str:
        known = isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value < len(classes)
        return str(classes[int(value)]) if known else number(value)

    items: list[dict[str, Any]] = [
        {
            "image": np.asarray(image),
            "source": source,
            "true": name(true),
            "predicted": name(predicted),
            "probability": probability,
            "right": kind == "regression" or name(true) == name(predicted),
        }
        for image, source, true, predicted, probability in examples
    ]
    items.sort(key=lambda item: (item["right"], 0.0 if item["right"] else -(item["probability"] or 0.0)))
    for item in items[:MOST_EXAMPLES]:
        item["tiny"] = max(item["image"].shape[:2]) <= 64
        item["image"] = data_uri(item["image"], 160)
    return items[:MOST_EXAMPLES]
