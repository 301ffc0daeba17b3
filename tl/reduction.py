"""Fewer features for the heads: a linear map behind a frozen backbone, drawn or fitted once on the training images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from tl.errors import InputError
from tl.optim import paths

PART = "reduce"
WAYS = ("pca", "random")


def parse(text: str) -> tuple[str, int]:
    """("pca", 64) of "pca:64"; ("", 0) of ""."""
    if not text:
        return "", 0
    way, _, width = text.partition(":")
    if way not in WAYS or not width.isdigit() or not int(width):
        raise InputError(f"config.reduce='{text}' is neither pca:N nor random:N: e.g. pca:64.")
    return way, int(width)


def check(text: str, params: Mapping[str, Any], moves: Callable[[str], bool]) -> None:
    """InputError where features are to be fewer and the backbone that they are of `moves`."""
    moving = [path for path in paths({"backbone": params["backbone"]}) if moves(path)] if text else []
    if moving:
        raise InputError(
            f"config.reduce='{text}' is fitted on features that stay, but {moving[0]} moves: freeze the backbone in "
            "config.groups, as configs/probe.py does, or set reduce=''."
        )


def fitted(
    text: str,
    variables: Mapping[str, Any],
    features: Callable[[], np.ndarray],
    seed: int,
) -> dict[str, Any]:
    """`variables` with the part `reduce` set; `features()` gives the (N, D) features of the training images.

    pca: the directions of largest variance; random: Gaussian ones that keep distances in the mean (Johnson and
    Lindenstrauss 1984). InputError where there are fewer directions than asked for.
    """
    way, width = parse(text)
    part = variables["params"][PART]
    wide = part["kernel"].shape[0]
    if width > wide:
        raise InputError(f"config.reduce='{text}' asks for more than the {wide} features there are: take fewer.")
    if way == "random":
        mean = np.zeros(wide)
        kernel = np.random.default_rng([seed, 5]).normal(size=(wide, width)) / np.sqrt(width)
    else:
        rows = features().astype(np.float64)
        if width > len(rows):
            raise InputError(f"config.reduce='{text}' asks for more than the {len(rows)} training images: take fewer.")
        mean = rows.mean(axis=0)
        kernel = np.linalg.eigh(np.cov(rows, rowvar=False))[1][:, ::-1][:, :width]
        # A direction is as good as its opposite: the largest number of each is positive, on every machine.
        kernel = kernel * np.sign(kernel[np.abs(kernel).argmax(axis=0), np.arange(width)])
    dtype = part["kernel"].dtype
    new = {"mean": jnp.asarray(mean, dtype), "kernel": jnp.asarray(kernel, dtype)}
    return {**variables, "params": {**variables["params"], PART: new}}
