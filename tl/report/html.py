"""The page of a run and the page of a set of runs: one file each, no network, no scripts."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from tl.report import provenance, sections, sets
from tl.report.console import duration
from tl.report.files import write_atomic
from tl.report.images import data_uri, overlay
from tl.report.provenance import versions as installed
from tl.report.table import number, spread

TEMPLATES = pathlib.Path(__file__).parent / "templates"


def write_run(
    folder: os.PathLike | str,
    *,
    title: str,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    classes: Sequence[str] = (),
    probabilities: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    examples: Sequence[tuple[np.ndarray, str, Any, Any, float | None]] = (),
    batch_image: np.ndarray | None = None,
    pictures: Mapping[str, np.ndarray] | None = None,
    mistakes: Mapping[str, np.ndarray] | None = None,
    params_table: Sequence[Mapping[str, Any]] = (),
    kind: str = "classification",
    of_task: str = "",
    confusion: np.ndarray | None = None,
    class_report: Mapping[str, np.ndarray] | None = None,
    reported: Sequence[str] = (),
    command: str = "",
    predict: str = "",
    points: tuple[np.ndarray, np.ndarray | None, np.ndarray] | None = None,
    layers: Sequence[Any] = (),
    versions: Mapping[str, str] | None = None,
) -> pathlib.Path:
    """Write `folder/report.html`; what is empty or None has no section.

    rows: `Log.rows()`. summary: the flat one of `summary.json`. probabilities: (N, C), or with kind="regression" the
    predictions (N,) or (N, K); labels: (N,) or (N, K). examples: (uint8 image (H, W, 3), name, true, predicted,
    probability); an int is an index into `classes`. batch_image: uint8 (H, W, 3), the augmented batch. pictures,
    mistakes: see `sections.pictures`. params_table: one mapping of column to value for each group. points: (N, 2) map
    of features, (N,) 0 source or 1 target or None, (N,) true classes. layers: see `sections.moved`. confusion: (C, C),
    rows true. of_task: " of NAME", the one of several. class_report: column -> (K,), of `reported` or of classes.
    command, predict: how.
    """
    return _write(
        folder,
        "run.html.j2",
        title=title,
        kind=kind,
        of_task=of_task,
        summary=dict(summary),
        **sections.told(summary),
        figures=sections.run_curves(rows),
        feature_maps=sections.feature_maps(*(points or (None, None, None)), classes),
        moved=sections.moved(layers),
        **sections.reported(class_report or {}, reported or classes, kind),
        examples=sections.examples(examples, classes, kind),
        **sections.answers(probabilities, labels, classes, kind, confusion),
        batch=None if batch_image is None else sections.enlarged(batch_image, 8),
        **{name: sections.pictures(of or {}) for name, of in (("pictures", pictures), ("mistakes", mistakes))},
        params=[dict(row) for row in params_table],
        command=command,
        predict=predict,
        versions=dict(versions or installed()),
        config=sections.flat(config),
    )


def write_staged(folder: pathlib.Path, pages: Sequence[pathlib.Path], seconds: float) -> pathlib.Path | None:
    """Write `folder/report.html` of a run made of stages: the last one's page, under the run's name.

    It says that it is, what all stages took together and where those before it are. pages: of each stage, in `folder`;
    None where the last has none.
    """
    *earlier, last = pages
    if not last.is_file():
        return None
    links = [
        Markup('<a href="{}">stage {}</a>').format(page.relative_to(folder).as_posix(), number)
        for number, page in enumerate(earlier, start=1)
        if page.is_file()
    ]
    note = f"This page is of the last of {len(pages)} stages, which took {duration(seconds)} together."
    before = Markup(" Before it: {}.").format(Markup(", ").join(links)) if links else ""
    heading = Markup('<h1>{}</h1>\n<p class="soft">{}{}</p>').format(folder.name, note, before)
    name = escape(last.parent.name)
    page = last.read_text().replace(f"<h1>{name}</h1>", heading, 1)
    return write_atomic(
        folder / "report.html", page.replace(f"<title>{name}<", Markup("<title>{}<").format(folder.name))
    )


def write_set(
    folder: os.PathLike | str,
    *,
    title: str,
    rows: Sequence[tuple[str, str, float, float, int]],
    runs: Mapping[str, tuple[str, Mapping[str, Any]]],
    curves: Mapping[str, Sequence[Any]],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    variants: Mapping[str, Sequence[str]] | None = None,
    command: str = "",
    versions: Mapping[str, str] | None = None,
) -> pathlib.Path:
    """Write `folder/report.html` of several runs.

    rows: (variant, metric, mean, std, n). runs: name -> (report's path relative to `folder`, its summary).
    curves: variant -> the log rows of its run, or a list with the log rows of each of its runs.
    configs: variant -> config, of which the keys that differ are shown. variants: variant -> the names of its runs.
    """
    every = list(dict.fromkeys(row[1] for row in rows))
    metrics = sets.leading(every)
    cells = {(variant, metric): (mean, std, n) for variant, metric, mean, std, n in rows}
    order = sets.ranked(metrics[0], list(dict.fromkeys(row[0] for row in rows)), cells) if metrics else []
    found = {name: [runs[path][1] for path in paths] for name, paths in (variants or {}).items()}
    differing = sections.differences(configs or {})
    return _write(
        folder,
        "set.html.j2",
        title=title,
        metrics=metrics,
        others=[(metric, [cells.get((v, metric)) for v in order]) for metric in every if metric not in metrics],
        leaderboard=[sets.standing(variant, metrics, order, cells) for variant in order],
        spread_figure=sets.strips(metrics[0], found) if metrics else None,
        figures=sets.set_curves(curves),
        runs=[
            {
                "name": name,
                "path": path,
                "values": [summary.get(metric) for metric in metrics],
                "seed": summary.get("seed"),
                "wall": summary.get("time/wall_s"),
            }
            for name, (path, summary) in runs.items()
        ],
        configs=list(configs or ()),
        differences=differing,
        command=command,
        versions=dict(versions or installed()),
        summary=dict(next(iter(runs.values()))[1]) if runs else {},
    )


def write_sweep(
    folder: os.PathLike | str,
    *,
    title: str,
    metric: str,
    trials: Sequence[Mapping[str, Any]],
    importance: Mapping[str, float],
    best: str,
    command: str,
) -> pathlib.Path:
    """Write `folder/report.html` of a search.

    trials: the best first, each with `trial` (its number), `params`, `value` (None where it did not come to its end),
    `ended` and `seconds`; the page of each is expected in `trialNUMBER/`. importance: key -> share of the figure's
    variance that it explains. best: the command that runs the best one.
    """
    return _write(
        folder,
        "sweep.html.j2",
        title=title,
        metric=metric,
        keys=list(trials[0]["params"]),
        trials=[dict(trial) for trial in trials],
        figures=sets.sweep_figures(trials, metric, importance),
        best=best,
        command=command,
        versions=dict(installed()),
        summary={},
    )


def write_explained(path: pathlib.Path, *, title: str, method: str, items: Sequence[Mapping[str, Any]]) -> pathlib.Path:
    """Write the page of some images and of where the answers to them come from.

    items: name, image uint8 (H, W, 3), map (h, w) in 0..1, answer (text), values [(class, number)], nearest
    [(uint8 image, text)].
    """
    drawn = [
        {
            **item,
            "tiny": max(item["image"].shape[:2]) <= 64,
            "image": data_uri(item["image"], 320),
            "overlay": data_uri(overlay(item["image"], item["map"]), 320),
            "nearest": [(data_uri(picture, 120), text) for picture, text in item["nearest"]],
        }
        for item in items
    ]
    about = {"summary": {"commit": provenance.commit()}, "command": provenance.command(), "versions": installed()}
    return _write(path.parent, "explained.html.j2", path.name, title=title, method=method, items=drawn, **about)


def _write(folder: os.PathLike | str, template: str, file: str = "report.html", /, **values: Any) -> pathlib.Path:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration}
    environment.globals["spread"] = spread
    return write_atomic(pathlib.Path(folder) / file, environment.get_template(template).render(**values))
