"""A run's folder: it belongs to one config, and is checked before any long work."""

from __future__ import annotations

import os
import pathlib

import jax

from tl import config as configs
from tl import hosts
from tl.config import Config
from tl.errors import InputError
from tl.report.files import write_atomic


def check(folder: pathlib.Path, config: Config) -> None:
    """InputError where `folder` holds another config's run or cannot be written to."""
    held = folder / "config.json"
    differs = configs.difference(configs.from_json(held.read_text()), config) if held.is_file() else []
    if differs:
        raise InputError(
            f"{folder} holds a run of another config (it differs in {', '.join(differs)}): "
            "give another --workdir, or remove the folder."
        )
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(
            f"the workdir {folder} cannot be written to ({existing} is in the way): give another --workdir."
        )


def claim(folder: pathlib.Path, config: Config) -> None:
    """Make `folder` this config's run. All processes must call it, and see what process 0 writes."""
    check(folder, config)
    hosts.barrier("checked")  # before there is anything new to see
    text = configs.to_json(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            write_atomic(folder / "config.json", text)
    except OSError as error:
        raise InputError(
            f"the workdir {folder} cannot be written to ({error.strerror}): give another --workdir."
        ) from error
    hosts.barrier("claimed")
    held = folder / "config.json"
    if not hosts.all_true(held.is_file() and held.read_text() == text):
        raise InputError(
            f"not every process finds this config in the workdir {folder}: it must be a folder that all machines "
            "share, and all must be started with the same flags."
        )
