"""Debian's chromium without a window, for pages that must work in a browser."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-web-security", "--disable-gpu", "--enable-logging=stderr")


def opened(page: pathlib.Path, *flags: str, milliseconds: int = 10000) -> tuple[str, list[str]]:
    """What became of the page once its scripts have run, and what stands in its console; a skip without chromium."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed: the page was not tried in a browser")
    own = (f"--user-data-dir={page.parent / 'chromium'}", f"--virtual-time-budget={milliseconds}", "--dump-dom")
    command = [browser, *FLAGS, *own, *flags, f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)
