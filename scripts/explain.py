"""Where in images a finished run's answers come from, as a page of its own.

    python scripts/explain.py --workdir runs/finetune FILES|DIRS --out page.html [--method grad_cam] [--nearest 4]

Methods: grad_cam, integrated_gradients, smoothgrad, occlusion; docs/explain.md says what each shows. `--nearest K` puts
the K training images beside each whose features are nearest.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.predict import find_images
from tl.errors import InputError, unknown
from tl.report.files import check_place

MOST = 8  # values that the page lists of an image


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--method", default="grad_cam")
    parser.add_argument("--task", default="", help="of several the one that is explained; by default the first")
    parser.add_argument("--nearest", type=int, default=0)
    options = parser.parse_args(argv)
    try:
        explain(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(options.out)
    return 0


def explain(options: argparse.Namespace) -> None:
    """Write the page."""
    from tl import explanations, predictor
    from tl.data import images, transforms
    from tl.report import html
    from tl.runtime import prepare

    check_place(options.out, "--out")
    prepare()
    files = find_images(options.paths)
    if options.method not in explanations.METHODS:
        raise unknown("explanation", options.method, explanations.METHODS)
    if options.nearest < 0:
        raise InputError(f"--nearest {options.nearest} must not be negative.")
    loaded = predictor.load(options.workdir)
    name = options.task or next(iter(loaded.tasks))
    if name not in loaded.tasks:
        raise unknown("task", name, loaded.tasks)
    task, split = loaded.tasks[name], predictor.split_of(files)
    chain = transforms.compose(transforms.evaluation(loaded.of_images()))
    values, maps = task.probabilities(loaded.outputs(split)[name]), loaded.maps(split, options.method, name)
    neighbours = nearest(options, loaded, split, name) if options.nearest else [[] for _ in files]
    items: list[dict[str, Any]] = []
    for i, file in enumerate(files):
        said = predictor.answer(task, values[i])
        order = np.argsort(-values[i], kind="stable")[:MOST]
        items.append(
            {
                "name": str(file),
                "image": chain(images.decode(file.read_bytes(), str(file)), np.random.default_rng(0)),
                "map": maps[i],
                "answer": said.get("class", name),
                "values": [(task.classes[j], float(values[i][j])) for j in order],
                "nearest": neighbours[i],
            }
        )
    html.write_explained(options.out, title=options.workdir.name, method=options.method, items=items)


def nearest(options: argparse.Namespace, loaded: Any, split: Any, name: str) -> list[list[tuple[np.ndarray, str]]]:
    """For each image the training images that are nearest, and what stands below them."""
    from tl import explain, inputs, predictor

    train = inputs.open_data(predictor.config_of(options.workdir)).splits["train"]
    rows, cosines = explain.nearest(loaded.features(train), loaded.features(split), options.nearest)
    classes, labels = loaded.tasks[name].classes, train.labels[name]

    def text(row: int, cosine: float) -> str:
        label = classes[labels[row]] if labels.dtype.kind in "iu" and labels.ndim == 1 else str(labels[row])
        return f"{label}, cosine {cosine:.3f}: {train.names[row]}"

    return [
        [(train.load(int(row)), text(int(row), cosine)) for row, cosine in zip(near, found, strict=True)]
        for near, found in zip(rows, cosines, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
