"""A finished run's weights in eight bits: writes them, and says what that costs.

    python scripts/quantise.py W quantised.safetensors

The file is read with `--config.weights=file:quantised.safetensors` like any other. The run's test set is evaluated
with both.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

from tl.errors import InputError

SHOWN = ("accuracy", "f1", "exact_match", "r2", "loss")  # of what figures there are


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description="Writes a run's kernels as int8 and compares the two networks.")
    parser.add_argument("run", type=pathlib.Path, help="the folder of a finished run")
    parser.add_argument("out", type=pathlib.Path, help="the .safetensors file to write")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    options = parser.parse_args(argv)
    try:
        quantise_run(options.run, options.out, force=options.force)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def quantise_run(run: pathlib.Path, out: pathlib.Path, *, force: bool) -> None:
    """Print a table and write `out`: last, so that nothing is there where the run cannot be evaluated."""
    from tl.runtime import prepare

    prepare()
    from tl import weights
    from tl.report.files import check_place
    from tl.report.table import print_table
    from tl.weights import readers
    from tl.weights.quantised import quantise

    held, before = run / "config.json", run / "weights.safetensors"
    if not held.is_file() or not before.is_file():
        raise InputError(f"'{run}' is no finished run: give the --workdir of one.")
    if out.exists() and not force:
        raise InputError(f"'{out}' exists: give another name, or --force to overwrite it.")
    check_place(out, "OUT")
    tensors, meta = readers.read(before)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        after = pathlib.Path(scratch) / "weights.safetensors"  # beside the config: a run, in eight bits
        shutil.copy(held, scratch)
        weights.write(after, quantise(tensors), meta)
        for name, path in (("float32", before), ("int8", after)):
            found = evaluated(path.parent)
            rows.append([name, f"{path.stat().st_size:,}", *(f"{value:.4f}" for value in found.values())])
        shutil.move(after, out)
    print_table(f"{run} and {out}", ["kernels", "bytes", *found], rows)


def evaluated(run: pathlib.Path) -> dict[str, float]:
    """Figures of the run as it predicts, on its test set and on that of the domain it was adapted to."""
    from tl import inputs, predictor
    from tl.data import texts
    from tl.evaluators.figures import figures
    from tl.text import Text

    loaded, data = predictor.load(run), inputs.open_data(predictor.config_of(run))
    if isinstance(loaded.preprocess, Text):
        data = texts.tokenised(data, loaded.preprocess)
    tables = {}
    for name in ("test", "target"):
        split = data.splits.get(name)
        if split is not None and len(split):
            said = {f"outputs/{task}": values for task, values in loaded.outputs(split).items()}
            tables[name] = {**said, **split.labels, "index": np.arange(len(split))}
    found = figures(tables, loaded.tasks)
    return {key: value for key, value in found.items() if key.rsplit("/", 1)[1] in SHOWN}


if __name__ == "__main__":
    sys.exit(main())
