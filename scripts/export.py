"""A finished run as one folder that jax and numpy alone can run, and that scripts/serve.py serves.

    python scripts/export.py --workdir runs/finetune --out FOLDER [--check 500] [--onnx]

docs/serving.md says what is in it. `--check N`: the folder's answers are compared with the run's on N of its test
images, and nothing is written where a class differs.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from tl.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--check", type=int, default=100, help="test images to compare the answers on; 0: none")
    parser.add_argument("--onnx", action="store_true", help="model.onnx too, where ONNX Runtime agrees to 1e-4")
    options = parser.parse_args(argv)
    try:
        from tl import export
        from tl.runtime import prepare

        prepare()
        said = export.export(options.workdir, options.out, check=options.check, as_onnx=options.onnx)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
