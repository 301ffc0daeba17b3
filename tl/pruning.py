"""Global magnitude pruning (Han et al. 2015, arXiv:1506.02626): the smallest weights go, and stay away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from tl.config import Config
from tl.errors import InputError
from tl.optim import kernels, map_paths, paths


def pinned(params: Mapping[str, Any], config: Config) -> frozenset[str]:
    """The kernels that config.prune is about: a number of theirs that is 0 stays 0."""
    share, layers = config.prune.share, config.prune.layers or "backbone/"
    if not share:
        if config.prune.layers:
            raise InputError("config.prune.layers is set, but config.prune.share=0 prunes nothing: set both or none.")
        return frozenset()
    if not 0 < share < 1:
        raise InputError(f"config.prune.share={share} must lie between 0 and 1: the share of weights that goes.")
    if config.lora.rank or config.adapters:
        raise InputError("config.prune goes with neither config.lora nor config.adapters: they leave no zeros.")
    return frozenset(f"{layer}/kernel" for layer in kernels(params, "config.prune.layers", layers))


def pruned(params: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """`params` with the smallest config.prune.share of the weights of all `pinned` kernels together set to 0."""
    chosen = pinned(params, config)
    if not chosen:
        return dict(params)
    found = {path: np.asarray(leaf) for path, leaf in paths(params).items() if path in chosen}
    sizes = np.sort(np.concatenate([np.abs(kernel).ravel() for kernel in found.values()]))
    count = round(config.prune.share * len(sizes))
    if not count:
        return dict(params)
    bound = sizes[count - 1]
    kept = {path: np.where(np.abs(kernel) > bound, kernel, 0) for path, kernel in found.items()}
    empty = [path.removesuffix("/kernel") for path, kernel in kept.items() if not kernel.any()]
    if empty:
        raise InputError(
            f"config.prune.share={config.prune.share} leaves {len(empty)} layers without a weight, among them "
            f"{empty[0]}: take a smaller share, or leave such layers out of config.prune.layers."
        )
    return map_paths(lambda path, leaf: jnp.asarray(kept[path]) if path in kept else leaf, params)
