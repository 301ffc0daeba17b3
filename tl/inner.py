"""Gradient steps within a loss: what a network becomes on the shots of an episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from tl.errors import InputError


def descended(
    cost: Callable[[Any], jax.Array], params: Any, rate: float, count: int, *, first_order: bool = False
) -> Any:
    """`params` after `count` steps of gradient descent on `cost`; `first_order`: no gradient through the steps' own."""

    def step(params: Any, _: None) -> tuple[Any, None]:
        slope = jax.grad(cost)(params)
        slope = jax.lax.stop_gradient(slope) if first_order else slope
        return jax.tree.map(lambda leaf, own: leaf - rate * own, params, slope), None

    return jax.lax.scan(step, params, length=count)[0]


def start(net: Any, parts: Sequence[str], inputs: dict[str, jax.Array], method: str) -> dict[str, Any]:
    """The parameters of `parts` that the network has, which one pass over `inputs` creates if they are not there yet.

    What config.groups freezes adapts to an episode, too: its start stays. InputError for a network with batch norm:
    what it says of a query would depend on the other queries.
    """
    parts = [part for part in parts if part in net.modules]
    if any(part not in net.params for part in parts):
        net.outputs(inputs)
    if any(net.stats.get(part) for part in net.modules):
        raise InputError(
            f"the method '{method}' adapts to an episode at a time, which statistics of a batch would carry over from "
            "image to image: take a network without batch norm, e.g. model=conv4 with model_args.norm='group', and no "
            "bottleneck.norm."
        )
    return {part: net.params[part] for part in parts}
