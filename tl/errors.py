"""What a user can get wrong, said in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input: the message is one sentence that names the thing, its value and the remedy.

    `main.py` and the scripts print it alone and exit with code 2, before any long work and with nothing written.
    """


def unknown(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """An error for a `name` that is none of `choices`, with the nearest ones first."""
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(choices)}."
    return InputError(f"unknown {kind} '{name}': {hint}")
