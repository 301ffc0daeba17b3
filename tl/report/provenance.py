"""Where a number comes from: the commit of this code and the versions of what it stands on."""

from __future__ import annotations

import functools
import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = {
    "jax": "jax",
    "flax": "flax",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "numpy": "numpy",
    "tl": "tl",
}


@functools.cache
def commit(root: pathlib.Path = ROOT) -> str:
    """The hash of the checkout this code runs from, `+dirty` when files outside docs/ differ; "" without git.

    Kept from the first call on: the code in memory is the code of then.
    """
    try:
        # An installed package may lie inside another repository (a .venv does): that commit says nothing.
        if pathlib.Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return ""
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        # docs/ holds the results themselves, which grow while a table runs.
        changed = _git(root, "status", "--porcelain", "--", ".", ":(exclude)docs")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head}+dirty" if changed else head


def versions() -> dict[str, str]:
    """Versions of python and of the packages that shape a result; "" for one that is not installed."""
    found = {"python": platform.python_version()}
    for name, package in PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def command() -> str:
    """The command line of this process, from the checkout's root; "" where it is none of this code's programs."""
    program = pathlib.Path(sys.argv[0]).resolve()
    if program.suffix != ".py" or not program.is_relative_to(ROOT):
        return ""
    return shlex.join(["python", str(program.relative_to(ROOT)), *sys.argv[1:]])


def _git(root: pathlib.Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()
