"""A run's folder: it belongs to one config, and is checked before any long work."""

from __future__ import annotations

import os
import pathlib

import jax

from tl import config as configs
from tl.config import Config
from tl.errors import InputError


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
    """Make `folder` this config's run."""
    check(folder, config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            (folder / "config.json").write_text(configs.to_json(config))
    except OSError as error:
        raise InputError(
            f"the workdir {folder} cannot be written to ({error.strerror}): give another --workdir."
        ) from error
