"""Which backbone for this data? Features of each are computed once, and scored without training it.

    python scripts/rank.py --data folder:DIR mobilenet_v2_tf=file:F resnet20_cifar=bundled [--labels-per-class 50]
        [--json FILE] [--config.image_size=64 ...]

Prints a table, the best ridge probe first, and which one to take and why. The scores are explained in tl/ranking.py.
Any key of configs/common.py can be set.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from scripts import backbones
from tl.errors import InputError

COLUMNS = ("ridge", "knn", "logme", "h_score", "trans_rate", "leep", "nce")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="+", metavar="MODEL=WEIGHTS")
    parser.add_argument("--data", required=True, help="a labelled source, as config.data")
    parser.add_argument("--labels-per-class", type=int, default=None, help="images of each class, drawn by seed (all)")
    parser.add_argument("--json", type=pathlib.Path, help="the rows in a file as well")
    options, flags = parser.parse_known_args(argv)
    try:
        from tl import config
        from tl.report.files import check_place, write_atomic
        from tl.runtime import prepare

        check_place(options.json, "--json")
        prepare()
        shared = {**config.parse_flags(flags), "data": options.data}
        if options.labels_per_class is not None:
            shared["labels_per_class"] = options.labels_per_class
        named = [backbones.split(text) for text in options.backbones]
        experiments = [backbones.experiment_of(model, weights, shared) for model, weights in named]  # all errors first
        rows = []
        for text, experiment in zip(options.backbones, experiments, strict=True):
            rows.append({"backbone": text, **measured(experiment)})
            print(f"{text}: {rows[-1]['images']} images, {rows[-1]['images_per_s']:.0f} a second", file=sys.stderr)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows.sort(key=lambda row: -row["ridge"])
    print(as_table(rows))
    print(recommendation(rows))
    if options.json:
        write_atomic(options.json, json.dumps(rows, indent=1) + "\n")
    return 0


def measured(experiment: Any) -> dict[str, Any]:
    """Scores, size and speed of one backbone."""
    import jax

    from tl.evaluators.transferability import transferability

    tables, seconds, state = backbones.features_of(experiment, ["train"])
    table = tables["train"]
    flat = experiment.loaded.flat if experiment.loaded else {}
    (task,) = experiment.tasks.values()
    return {
        **transferability(table["features"], table, experiment.tasks, flat),
        "images": len(table["features"]),
        "classes": len(task.classes),
        "features": table["features"].shape[1],
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params["backbone"])),
        "images_per_s": len(table["features"]) / seconds,
    }


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Text in columns; a dash where a score needs a classifier that the weights lack."""
    header = ["backbone", *COLUMNS, "parameters", "images/s"]
    lines = [
        [
            row["backbone"],
            *(f"{row[name]:.4f}" if name in row else "-" for name in COLUMNS),
            f"{row['parameters']:,}",
            f"{row['images_per_s']:.0f}",
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    place = lambda line: "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])  # noqa: E731
    return "\n".join(map(place, [header, *lines]))


def recommendation(rows: Sequence[Mapping[str, Any]]) -> str:
    """The fastest of those whose probe is within a standard error of the best, why, and what to do next."""
    best = max(rows, key=lambda row: row["ridge"])
    error = math.sqrt(best["ridge"] * (1 - best["ridge"]) / best["images"])
    close = [row for row in rows if row["ridge"] >= best["ridge"] - error]
    chosen = max(close, key=lambda row: row["images_per_s"])
    reasons = [f"its probe is right on {chosen['ridge']:.1%} of {chosen['images']} images"]
    if chosen is not best:
        reasons.append(f"within a standard error of the best ({best['ridge']:.1%}, {best['backbone']}) and faster")
    elif len(close) > 1:
        reasons.append(f"the fastest of {len(close)} within a standard error")
    favourite = max(rows, key=lambda row: row["logme"])
    if favourite is not chosen:
        reasons.append(f"though LogME prefers {favourite['backbone']}: try both")
    each = chosen["images"] / chosen["classes"]
    way = "configs/probe.py or configs/lp_ft.py" if each < 100 else "configs/lp_ft.py or configs/finetune.py"
    return f"take {chosen['backbone']}: {', '.join(reasons)}. With {each:.0f} images a class begin with {way}."


if __name__ == "__main__":
    sys.exit(main())
