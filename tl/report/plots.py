"""Figures as SVG with the colours and the font of the page: one figure is right on light and on dark."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

# Colours that matplotlib writes and that are then replaced by the page's own variables; nobody sees these.
_INK, _GRID = "#010203", "#010204"
_SERIES = tuple(f"#01010{i}" for i in range(1, 9))
_DASHES = ("-", "--", ":", "-.")
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class called "$5" is no formula
    "font.size": 9.5,
    "font.family": ["DejaVu Sans"],  # measured with this one; the page then sets its own, narrower one
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
}
_MARKS = (("o", "●"), ("x", "×"), ("^", "▲"), ("s", "■"), ("v", "▼"))  # as matplotlib draws it and as a page writes it
MOST_GROUPS = 8 * len(_MARKS)  # that a colour and a mark tell apart
MOST_POINTS = 800  # of one line: more cannot be seen and makes the page heavy

Run = tuple[np.ndarray, np.ndarray]  # steps and values
Series = Mapping[str, Sequence[Run]]


def curves(series: Series, *, title: str, x: str = "step", log: bool = False) -> Markup:
    """Lines `{name: [(x, y), ...]}`; several runs of a name are a mean with a band of one deviation."""

    def draw(axes: Any) -> None:
        for index, (name, runs) in enumerate(series.items()):
            colour, dash = _SERIES[index % 8], _DASHES[(index // 8) % 4]
            steps, mean, std = _mean_band(runs)
            few = "o" if len(steps) < 25 else None
            axes.plot(steps, mean, dash, color=colour, label=name, marker=few, markersize=3.5)
            if std is not None:
                axes.fill_between(steps, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel(x)
        if log:
            axes.set_yscale("log")
        if len(series) > 1:
            axes.legend(loc="best")

    names = ", ".join(series)
    return _svg(draw, f"{title}: {names} over {x}", title)


def scatter(true: np.ndarray, predicted: np.ndarray, *, title: str) -> Markup:
    """(N,) against (N,), with the line on which they would agree."""

    def draw(axes: Any) -> None:
        low = float(min(true.min(), predicted.min()))
        high = float(max(true.max(), predicted.max()))
        axes.plot([low, high], [low, high], "--", color=_INK, linewidth=1)
        chosen = np.linspace(0, len(true) - 1, min(len(true), 2000)).astype(int)
        axes.scatter(true[chosen], predicted[chosen], s=10, color=_SERIES[0], alpha=0.5, linewidths=0)
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")

    return _svg(draw, f"{title}: predicted against true values of {len(true)} examples", title, size=(4.4, 4.0))


def bars(
    series: Mapping[str, Mapping[str, float]], *, title: str, x: str, marks: Mapping[str, str] | None = None
) -> Markup:
    """Bars `{series: {name: value}}` on their side, the first name on top; `marks` stand at the end of its last bar."""
    (names,) = {tuple(values) for values in series.values()}
    thick = 0.7 / len(series)

    def draw(axes: Any) -> None:
        for index, (label, values) in enumerate(series.items()):
            places = np.arange(len(names)) + (index - (len(series) - 1) / 2) * thick
            axes.barh(places, list(values.values()), color=_SERIES[index], alpha=0.7, height=0.9 * thick, label=label)
            if marks and index == len(series) - 1:
                for place, name in zip(places, names, strict=True):
                    axes.annotate(
                        marks[name], (values[name], place), (3, 0), textcoords="offset points", va="center", fontsize=8
                    )
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="y", visible=False)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(x)
        axes.figure.subplots_adjust(left=min(0.5, 0.05 + 0.013 * max(map(len, names))), right=0.88 if marks else 0.98)
        if len(series) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(series), borderaxespad=0)

    of = ", ".join(
        f"{label} " * (len(series) > 1) + f"{k} {v:.3f}" for label, own in series.items() for k, v in own.items()
    )
    return _svg(draw, f"{title}: {of}", title, size=(6.0, max(2.2, 0.9 + len(names) * (0.12 + 0.1 * len(series)))))


def strip(values: Mapping[str, Sequence[float]], *, title: str) -> Markup:
    """The values of each name as dots on a line of its own, the first on top, and their mean."""

    def draw(axes: Any) -> None:
        for place, own in enumerate(values.values()):
            axes.plot(own, [place] * len(own), "o", color=_SERIES[0], alpha=0.6, markersize=5)
            axes.plot([np.mean(own)], [place], "|", color=_INK, markersize=16, markeredgewidth=1.6)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.figure.subplots_adjust(left=min(0.5, 0.05 + 0.013 * max(map(len, values))))

    of = ", ".join(f"{name} {' '.join(f'{value:.4f}' for value in own)}" for name, own in values.items())
    return _svg(
        draw, f"{title} of each run: {of}", f"{title}, a dot a run", size=(6.0, max(1.6, 0.9 + 0.25 * len(values)))
    )


def spots(x: Sequence[Any], y: Sequence[float], *, title: str, name: str, log: bool) -> Markup:
    """What was tried, numbers or names, against what it gave."""

    def draw(axes: Any) -> None:
        axes.plot(x, y, "o", color=_SERIES[0], alpha=0.7, markersize=5)
        if log:
            axes.set_xscale("log")
        axes.set_xlabel(name)
        axes.set_ylabel(title)

    return _svg(draw, f"{title} over {name} of {len(x)} trials", f"{title} by {name}", size=(4.4, 3.4))


def groups(
    points: np.ndarray, names: Sequence[str], numbers: np.ndarray, *, title: str, others: str = ""
) -> dict[str, Any]:
    """(N, 2) points on a map without axes, each with the mark of its group: `numbers` (N,) index `names`.

    At most MOST_GROUPS names. Points of number -1 are pale, and called `others`. Returns `figure` and its `legend` for
    the page to set below it, as names may be longer than a figure is wide: [(mark, colour, name)].
    """

    def draw(axes: Any) -> None:
        rest = points[numbers < 0]
        axes.plot(rest[:, 0], rest[:, 1], "o", color=_INK, markersize=2.5, alpha=0.3, markeredgewidth=0)
        for index in range(len(names)):
            own = points[numbers == index]
            axes.plot(own[:, 0], own[:, 1], _MARKS[index // 8][0], color=_SERIES[index % 8], markersize=3, alpha=0.6)
        axes.set_xticks([])
        axes.set_yticks([])

    shown = int((numbers >= 0).sum())
    legend = [(_MARKS[i // 8][1], f"var(--series-{i % 8 + 1})", name) for i, name in enumerate(names)]
    legend += [("●", "var(--soft)", others)] if others else []
    alternative = f"{title}: {shown} images in {len(names)} groups" + (f", {len(points) - shown} others" * bool(others))
    return {"figure": _svg(draw, alternative, title, (4.6, 3.6)), "legend": legend}


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 10) -> Markup:
    """(N, C) and (N,): accuracy by confidence of the prediction, and the share of each bin."""
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    filled = count > 0
    mean = [np.bincount(bin_of, weights=w, minlength=bins)[filled] / count[filled] for w in (confidence, hit)]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=1, label="perfect")
        axes.bar(
            (np.arange(bins) + 0.5) / bins,
            count / max(count.sum(), 1),
            width=0.9 / bins,
            color=_SERIES[0],
            alpha=0.25,
            label="share of examples",
        )
        axes.plot(mean[0], mean[1], "o-", color=_SERIES[0], markersize=4, label="accuracy")
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="upper left")

    return _svg(draw, "Calibration: accuracy by confidence of the prediction", "Calibration", size=(4.4, 4.0))


def _mean_band(
    runs: Sequence[Run],
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Steps that all runs have, the mean there and, for several runs, the sample deviation."""
    if len(runs) == 1:
        steps, values = runs[0]
        # Means of neighbours, not every k-th point, which would make another curve of noise.
        width = -(-len(steps) // MOST_POINTS)
        if width > 1:
            whole = len(steps) // width * width
            steps = steps[:whole].reshape(-1, width).mean(axis=1)
            values = values[:whole].reshape(-1, width).mean(axis=1)
        return steps, values, None
    shared = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in runs)))
    shared = shared[:: max(1, -(-len(shared) // MOST_POINTS))]
    table = np.array([[dict(zip(*run, strict=True))[step] for step in shared] for run in runs])
    return np.array(shared), table.mean(axis=0), table.std(axis=0, ddof=1)


def _svg(draw: Callable[[Any], None], alternative: str, title: str, size: tuple[float, float] = (6.0, 3.4)) -> Markup:
    # The figure's own objects, no pyplot: half the import time, no state, safe in a thread.
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    salt = hashlib.sha256(alternative.encode()).hexdigest()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        # Names in scripts that matplotlib's font lacks are drawn by the reader's browser.
        warnings.simplefilter("ignore")
        # Margins in inches: a layout engine would draw every figure twice.
        figure = Figure(figsize=size)
        figure.subplots_adjust(0.62 / size[0], 0.5 / size[1], 1 - 0.1 / size[0], 1 - 0.3 / size[1])
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(title, loc="left", fontweight="bold", fontsize=10.5)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_for_page(buffer.getvalue(), alternative))


def _for_page(svg: str, alternative: str) -> str:
    """Matplotlib's file -> an inline element without addresses, repeated ids, own size and colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r' id="[\w.]+_\d+"', "", body).replace("xlink:href", "href")
    names = {_INK: "currentColor", _GRID: "var(--line)"}
    names |= {colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES, start=1)}
    for colour, name in names.items():
        body = body.replace(colour, name)
    box = view.group(0) if view else ""
    return f'<svg class="figure" role="img" aria-label="{escape(alternative)}" {box}>{body}'
