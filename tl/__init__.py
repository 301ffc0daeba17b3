"""Transfer learning in JAX and Flax. From Python: `load` a config, `run` it, plot a `curve` of what it left.

The rooms below are open too (docs/architecture.md): `tl.build.experiment`, `tl.train.start`, `tl.predictor.load`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

# The functions import their rooms themselves, so that `import tl` alone needs no jax.


def load(spec: str, changes: Mapping[str, Any] | None = None) -> Any:
    """A config: `FILE[:key=value,...]`, and `changes` by dotted key, with values of Python; see configs/common.py."""
    from tl import config

    return config.load(spec, changes)


def run(config: Any, folder: pathlib.Path | str, *, quiet: bool = False) -> dict[str, Any]:
    """Carry out a config in `folder`, or go on with it, and return what its `summary.json` says.

    Raises `tl.errors.InputError`, one sentence, for what is wrong with the config, before anything is written.
    """
    from tl import build, runtime

    runtime.prepare()
    return build.run(config, folder, quiet=quiet)


def curve(folder: pathlib.Path | str, name: str) -> tuple[list[int], list[float]]:
    """The steps of a run in `folder` and, at each, the scalar `name`, e.g. `val/accuracy`: ready for `plt.plot`.

    The steps of a run made of stages count through all of them. Raises `tl.errors.InputError` for a folder without
    rows, also that of a set of runs, and for a name that no row has.
    """
    from tl import errors
    from tl.report import files

    rows = files.read_rows(folder)
    if not rows:
        raise errors.InputError(
            f"'{folder}' holds no metrics.jsonl with rows: name the folder of one run, of a set that of a run in it."
        )
    found = [row for row in rows if name in row]
    if not found:
        raise errors.unknown(f"scalar of '{folder}'", name, sorted({key for row in rows for key in row} - {"step"}))
    return [row["step"] for row in found], [row[name] for row in found]
