"""A batch of training images after augmentation, as a picture.

python scripts/show_batch.py --config configs/finetune.py:data=folder:DIR --out batch.png [--step N]
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from tl.errors import InputError
from tl.report.files import check_place


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/default.py")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("batch.png"))
    parser.add_argument("--step", type=int, default=0)
    options, rest = parser.parse_known_args(argv)
    from tl import build, config, runs
    from tl.report import images

    try:
        check_place(options.out, "--out")
        overrides = config.parse_flags(rest)
        chosen = config.load(options.config, overrides)
        if runs.is_set(chosen):
            chosen = runs.members(chosen)[0][2]
        experiment = build.experiment(chosen)
        stream = experiment.streams[experiment.method.streams[0]]
        if not experiment.dataset.splits["train"].pictures:
            raise InputError(f"config.data holds {experiment.dataset.splits['train'].holds}, and nothing to see.")
        images.save_png(options.out, images.grid(stream[options.step]["image"]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
