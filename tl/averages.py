"""Weights averaged along a run: an exponential moving average, SWA (Izmailov et al. 2018, arXiv:1803.05407) or SWAD
(Cha et al. 2021, arXiv:2102.08604).

SWA is the mean of the weights after every step of the last part of a run, whose rate is best kept high; the paper's is
of the last step of every epoch. The running statistics of batch norm are averaged too, where the paper measures them
anew.

SWAD averages the weights of every step of a valley of the validation loss. Between two evaluations the state holds the
mean of the steps so far; at each evaluation that mean is judged, and kept in a file until the end of the run, when the
losses of all say where the valley lies. (The authors judge the last step's weights instead.)
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tl.config import Config
from tl.errors import InputError
from tl.weights import readers

FOLDER = "segments"


def rate(config: Config, eval_every: int, steps: int) -> Callable[[jax.Array], jax.Array] | None:
    """How far the average moves towards the new weights, by the step's number of `steps`, from 0; None: there is none.

    An exponential one moves by 1 - min(decay, (1 + t) / (10 + t)), which lets it forget the start.
    """
    if swad(config):
        return lambda step: 1 / (step % eval_every + 1).astype(jnp.float32)  # the mean since the last evaluation
    if config.get("swa", 0):
        start = round(config.swa * steps)
        return lambda step: 1 / jnp.maximum(step - start + 1, 1).astype(jnp.float32)
    if config.ema:
        return lambda step: 1 - jnp.minimum(config.ema, (1 + step.astype(jnp.float32)) / (10 + step))
    return None


def swad(config: Config) -> tuple[int, int, float] | None:
    """`valley`'s arguments, where the config asks for SWAD."""
    return tuple(config.get("swad", ())) or None


def check(config: Config) -> None:
    """Raises InputError for settings that make no sense, alone or together."""
    if not 0 <= config.ema < 1:
        raise InputError(f"config.ema={config.ema} must be a decay, 0 <= ema < 1 (0: none).")
    evenly = config.get("swa", 0)  # an older run's config has no such key
    if not 0 <= evenly < 1:
        raise InputError(f"config.swa={evenly} must be the share of a run that lies before, 0 < swa < 1 (0: none).")
    found = swad(config)
    if evenly and (config.ema or found):
        raise InputError("config.swa is one average of weights, config.ema and config.swad are others: leave one out.")
    if found is None:
        return
    counts = found[:2]
    if len(found) != 3 or not all(isinstance(n, int) and n >= 1 for n in counts) or found[2] < 0:
        raise InputError(
            f"config.swad={found} must be (converge, tolerate, rise): two numbers of evaluations, at least 1, and a "
            "share of the loss, at least 0, such as (3, 6, 0.3)."
        )
    for name in ("ema", "select", "patience"):
        if config[name]:
            raise InputError(
                f"config.{name}={config[name]!r} and config.swad both say which weights a run ends with: leave one out."
            )


def keep(folder: pathlib.Path, step: int, leaves: Mapping[str, Any]) -> None:
    """The mean of the steps from the last evaluation to this one."""
    if jax.process_index() == 0:
        readers.write(folder / FOLDER / f"{step}.safetensors", leaves, {})


def valley(losses: Sequence[float], converge: int, tolerate: int, rise: float) -> tuple[int, int]:
    """(first, last) of the evaluations whose weights are averaged, algorithm 1 of the paper; its r is 1 + `rise`.

    The valley begins with the first loss that is the least of the `converge` from it on, and ends before the first of
    `tolerate` losses that all lie above (1 + rise) times the mean of those. Without such a beginning it is the last
    evaluation alone.
    """
    for first in range(len(losses) - converge + 1):
        opening = losses[first : first + converge]
        if opening[0] > min(opening):
            continue
        limit = (1 + rise) * sum(opening) / converge
        for end in range(first + 1, len(losses) - tolerate + 1):
            if min(losses[end : end + tolerate]) > limit:
                return first, end - 1
        return first, len(losses) - 1
    return len(losses) - 1, len(losses) - 1


def finish(
    folder: pathlib.Path, rows: Sequence[Mapping[str, Any]], settings: tuple[int, int, float]
) -> tuple[dict[str, Any], str]:
    """The flat mean over the valley, every step counted once, and a sentence about it."""
    found = [row for row in rows if "val/loss" in row and row["step"] > 0]
    first, last = valley([row["val/loss"] for row in found], *settings)
    steps = [0, *(row["step"] for row in found)]
    mean: dict[str, Any] = {}
    for place in range(first, last + 1):
        share = (steps[place + 1] - steps[place]) / (steps[place + 1] - steps[first])
        for path, leaf in readers.read(folder / FOLDER / f"{steps[place + 1]}.safetensors")[0].items():
            # As a running mean: what never moved stays as it was, bit for bit.
            mean[path] = mean[path] + (share * (leaf - mean[path])).astype(leaf.dtype) if path in mean else leaf
    return mean, f"weights averaged over steps {steps[first] + 1} to {steps[last + 1]}"


def clear(folder: pathlib.Path) -> None:
    """Remove what `keep` wrote."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
