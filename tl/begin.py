"""What a network begins with: which of its leaves the weights fill, and those that its parts bring along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tl import lora, weights
from tl.errors import InputError
from tl.methods.base import OLD_HEAD, Part

Flat = Mapping[str, np.ndarray]


def fill(loaded: weights.Loaded | None, classifier: str, beside: Mapping[str, Part], shapes: Mapping[str, Any]) -> Flat:
    """The leaves, of those in `shapes`, that are loaded; `beside` are the method's parts. The rest is initialised.

    Raises InputError where weights and network do not fit each other.
    """
    wanted = {path: leaf.shape for path, leaf in shapes.items() if not lora.own(path)}
    brought = {path: leaf for name, part in beside.items() for path, leaf in own_leaves(name, part, wanted).items()}
    if loaded is None:
        if classifier == "keep":
            raise InputError(
                "config.weights is 'none', but the classifier is to be kept: name weights, e.g. weights=file:F."
            )
        return brought
    # An earlier run's file may hold its method's own parts, which mean nothing to another method.
    parts = {path.split("/")[1] for path in wanted} | {"backbone", "head"}
    flat = {path: leaf for path, leaf in loaded.flat.items() if path.split("/")[1] in parts}
    held = {path.split("/")[1] for path in flat}
    for name, part in beside.items():
        if part.weights and name not in held:
            flat |= renamed(flat, f"params/{part.weights}/", f"params/{name}/")
    return {**weights.merge(wanted, flat, head=classifier), **brought}


def own_leaves(name: str, part: Part, wanted: Mapping[str, tuple[int, ...]]) -> Flat:
    """What a part brings along, in the names of the whole; InputError unless that is all of it."""
    if not part.leaves:
        return {}
    found = renamed(part.leaves, "params/", f"params/{name}/") | renamed(part.leaves, "stats/", f"stats/{name}/")
    own = {path: shape for path, shape in wanted.items() if path.split("/")[1] == name}
    shapes = {path: leaf.shape for path, leaf in found.items()}
    strange = [path for path in sorted(own.keys() | shapes.keys()) if own.get(path) != shapes.get(path)]
    if strange:
        path = strange[0]
        raise InputError(
            f"the weights of the {name} do not fit its network: {path} is {shapes.get(path, 'missing')} there and "
            f"{own.get(path, 'missing')} here, one of {len(strange)}: set config.{name}.model and model_args to those "
            "it was trained with."
        )
    return found


def renamed(flat: Flat, old: str, new: str) -> dict[str, np.ndarray]:
    """The leaves whose path begins with `old`, which becomes `new`."""
    return {new + path.removeprefix(old): leaf for path, leaf in flat.items() if path.startswith(old)}


def old_classes(loaded: weights.Loaded | None) -> int:
    """How many classes the classifier in the weights knows, 0 without one: the old one where a method kept it."""
    flat = loaded.flat if loaded else {}
    kernels = [flat[path] for part in (OLD_HEAD, "head") if (path := f"params/{part}/kernel") in flat]
    return kernels[0].shape[-1] if kernels else 0
