"""How far a run moved each layer: ||w - w0|| / ||w0||, w0 the parameters of step 0."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tl import adapters, optim
from tl.config import Config

MOST = 40  # layers that are told apart; those of a larger network by their block, or stage


@dataclasses.dataclass
class Layer:
    """`change` is NaN where it began as zeros alone; `new`: parameters of adapters, which began as no change."""

    name: str
    change: float
    frozen: bool
    new: int


def copies(params: Mapping[str, Any], optimizer: optim.Optimizer) -> dict[str, np.ndarray]:
    """{path: what will move, on the host}; {} with several processes, none of which need hold all of it."""
    if jax.process_count() > 1:
        return {}
    return {path: np.array(leaf) for path, leaf in optim.paths(params).items() if optimizer.moves(path)}


def layers(
    params: Mapping[str, Any], began: Mapping[str, np.ndarray], config: Config, optimizer: optim.Optimizer
) -> list[Layer]:
    """In the network's order; [] where nothing moved. A kernel counts with the adapters beside it, as the network runs.

    `began`: the `copies` of step 0.
    """
    if not began:
        return []
    flat, now = optim.paths(params), optim.paths(adapters.merged(params, config))
    depths = optim.layer_depths(list(flat))
    order = sorted(flat, key=lambda path: (depths[path], _natural(path)))
    names = {path: path.rsplit("/", 1)[0] for path in order}
    for depth in (3, 2, 1):
        if len(set(names.values())) > MOST:
            names = {path: "/".join(name.split("/")[:depth]) for path, name in names.items()}
    found: dict[str, list[float]] = {name: [0.0, 0.0] for name in names.values()}
    layers = {name: Layer(name, np.nan, True, 0) for name in found}
    for path in order:
        layer, sums = layers[names[path]], found[names[path]]
        layer.frozen &= not optimizer.moves(path)
        if adapters.own(path) or adapters.between(path):
            layer.new += flat[path].size
            continue
        start = began.get(path)
        first = np.asarray(flat[path] if start is None else start, np.float64)
        sums[0] += float(np.square(np.asarray(now[path], np.float64) - first).sum())
        sums[1] += float(np.square(first).sum())
    for name, (apart, size) in found.items():
        layers[name].change = float(np.sqrt(apart / size)) if size else np.nan
    return list(layers.values())


def _natural(path: str) -> list[Any]:
    """block2 before block10; every second piece is a number."""
    return [int(piece) if place % 2 else piece for place, piece in enumerate(re.split(r"(\d+)", path))]
