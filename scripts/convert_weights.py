"""Converts a weight file of any readable format into this project's own: safetensors with names and origin.

    python scripts/convert_weights.py file:resnet50.pth --model resnet50 resnet50.safetensors
    python scripts/convert_weights.py hf:timm/resnet50.a1_in1k --model resnet50 resnet50_a1.safetensors
    python scripts/convert_weights.py --list

The result is read with `file:`, without a network and without the name table. SOURCE is a path or any weights
spec; soups (`A+B`) are averaged.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from tl import models, weights
from tl.errors import InputError
from tl.weights import known

UNKNOWN_LICENCE = "not known to this project; ask where the weights come from"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code (2 for bad input, as main.py does)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="convert_weights.py"
    )
    parser.add_argument("source", nargs="?", help="a path or a weights spec (file:, run:, hf:, https:, known, bundled)")
    parser.add_argument("out", nargs="?", type=pathlib.Path, help="the .safetensors file to write")
    parser.add_argument("--model", help="the model whose names the weights get")
    parser.add_argument("--list", action="store_true", help="print the weights known by name, and stop")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    args = parser.parse_intermixed_args(argv)
    if args.list:
        print_table()
        return 0
    if not (args.source and args.out and args.model):
        parser.error("SOURCE, OUT and --model are needed (or --list)")
    try:
        convert_file(args.source, args.model, args.out, force=args.force)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def convert_file(source: str, model: str, out: pathlib.Path, *, force: bool = False) -> None:
    """Writes `out` and says what went into it. Raises InputError before anything is written."""
    if out.exists() and not force:
        raise InputError(f"'{out}' exists: give another name, or --force to overwrite it.")
    preprocess = models.preprocess(model)  # an unknown model is told before anything is fetched
    spec = f"file:{source}" if pathlib.Path(source).is_file() else source
    loaded = weights.load(spec, model)
    if loaded is None:
        raise InputError("there is nothing to convert in 'none': give a file or another source.")
    row = known.of_source(loaded.source)
    licence = row.licence if row else UNKNOWN_LICENCE
    preprocess = loaded.preprocess or (preprocess if models.reads(model) == "image" else None)
    meta = weights.metadata(
        model,
        preprocess,
        loaded.classes,
        source=loaded.source,
        source_sha256=loaded.sha256,
        licence=licence,
        data=row.data if row else "not known",
        **({"model_args": json.dumps(dict(loaded.arguments))} if loaded.arguments else {}),
    )
    weights.write(out, loaded.flat, meta)
    numbers = sum(value.size for value in loaded.flat.values())
    print(f"{out}: {len(loaded.flat)} arrays, {numbers / 1e6:.2f} million numbers, for the model {model}")
    print(f"source: {loaded.source} (sha256 {loaded.sha256[:16]})")
    print(f"preprocessing: {preprocess}")
    print(f"licence: {licence}" + (f"; trained on {row.data}" if row else ""))


def print_table() -> None:
    """One line a row of the known weights; the first of a model is its default."""
    width = max(len(row.source) for row in known.TABLE)
    for row in known.TABLE:
        mark = "*" if known.KNOWN[row.model] is row else " "
        print(f"{mark} {row.model:15} {row.source:{width}}  {row.licence:13} {row.data}")
    print("* = the default of its model. ImageNet's images come under terms of their own (non-commercial research).")


if __name__ == "__main__":
    raise SystemExit(main())
