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
from typing import Any

from tl.errors import InputError


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
    from tl import config, weights
    from tl.predictor import last_stage
    from tl.report.table import print_table
    from tl.weights import readers
    from tl.weights.quantised import quantise

    held, before = run / "config.json", run / "weights.safetensors"
    if not held.is_file() or not before.is_file():
        raise InputError(f"'{run}' is no finished run: give the --workdir of one.")
    if out.exists() and not force:
        raise InputError(f"'{out}' exists: give another name, or --force to overwrite it.")
    chosen = last_stage(config.from_json(held.read_text()))
    tensors, meta = readers.read(before)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        after = pathlib.Path(scratch) / "quantised.safetensors"
        weights.write(after, quantise(tensors), meta)
        for name, path in (("float32", before), ("int8", after)):
            figures = evaluated(chosen, path, pathlib.Path(scratch) / name)
            rows.append([name, f"{path.stat().st_size:,}", *(f"{value:.4f}" for value in figures.values())])
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(after, out)
    print_table(f"{run} and {out}", ["kernels", "bytes", *figures], rows)


def evaluated(chosen: Any, path: pathlib.Path, folder: pathlib.Path) -> dict[str, float]:
    """The figures of the run `chosen` on its test set with the weights in `path`."""
    from tl import build, config

    alone = {"weights": f"file:{path}", "classifier": "keep", "method": "finetune", "method_args": {}, "steps": 0}
    alone |= {"stages": (), "select": "", "patience": 0, "swad": (), "teacher.weights": "", "prune.share": 0.0}
    summary = build.run(config.merged(chosen, alone), folder, quiet=True, report=False)
    return {key: value for key, value in summary.items() if key in ("test/accuracy", "test/loss", "test/r2")}


if __name__ == "__main__":
    sys.exit(main())
