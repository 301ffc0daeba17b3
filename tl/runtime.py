"""What a process needs before the first array: a compilation cache, quiet libraries."""

from __future__ import annotations

import os
import pathlib

import jax


def cache_folder() -> pathlib.Path:
    """`TL_CACHE`, else `~/.cache/tl`."""
    return pathlib.Path(os.environ.get("TL_CACHE") or pathlib.Path.home() / ".cache" / "tl")


def prepare() -> None:
    """Compiled programs are kept across processes: the second start of a network takes seconds less."""
    folder = cache_folder() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a read-only home costs time, nothing else
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # The defaults skip what compiles in under a second, and a start is made of many of those.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
