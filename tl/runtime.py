"""What a process needs before the first array: memory that is kept, and a compilation cache."""

from __future__ import annotations

import ctypes
import os
import pathlib
import platform

import jax


def cache_folder() -> pathlib.Path:
    """`TL_CACHE`, else `~/.cache/tl`."""
    return pathlib.Path(os.environ.get("TL_CACHE") or pathlib.Path.home() / ".cache" / "tl")


def keep_memory() -> None:
    """glibc's allocator keeps freed buffers instead of giving them back after every step (mallopt(3)).

    Fetching the pages again costs a large part of a training step on virtual machines.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    for setting, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28)):
        libc.mallopt(setting, value)


def prepare() -> None:
    """Call it before the first array. Compiled programs are kept: a network's second start takes seconds less."""
    if jax.default_backend() == "cpu":
        keep_memory()
    folder = cache_folder() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a read-only home costs time, nothing else
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # The defaults skip what compiles in under a second, and a start is made of many of those.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
