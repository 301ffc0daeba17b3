"""How the losses of several tasks become one gradient: pure functions of losses and of trees of gradients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tl.errors import InputError

Tree = Any


def several(method: str, tasks: Collection[str]) -> None:
    """InputError where there is only one task."""
    if len(tasks) < 2:
        raise InputError(f"the method '{method}' weighs several tasks, and there is one: set config.tasks.")


def named(what: str, tasks: Collection[str], values: jax.Array) -> dict[str, jax.Array]:
    """(T,) values as scalars to be logged, `what_TASK` each."""
    return {f"{what}_{name}": values[i] for i, name in enumerate(tasks)}


def gradient_of_each(objective: Callable[[Any], tuple[jax.Array, Any]], params: Tree) -> tuple[jax.Array, list, Any]:
    """`objective(params) -> ((T,) losses, rest)`: the losses, the gradient of each, and `rest`."""
    losses, pull, rest = jax.vjp(objective, params, has_aux=True)
    each = [pull(one)[0] for one in jnp.eye(len(losses), dtype=losses.dtype)]
    return losses, each, rest


def shared(tree: Mapping[str, Tree], own: Collection[str]) -> dict[str, Tree]:
    """What all tasks have in common: every part but their `own_parts`."""
    return {part: leaves for part, leaves in tree.items() if part not in own}


def has_common(params: Mapping[str, Any], own: Collection[str]) -> None:
    """InputError where the tasks have nothing but their own parts."""
    if not jax.tree.leaves(shared(params, own)):
        raise InputError("the tasks share no layer whose gradients could be compared: set config.bottleneck.width.")


def dot(one: Tree, other: Tree) -> jax.Array:
    """The sum of the products of all leaves."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), one, other)
    return jnp.stack(jax.tree.leaves(products)).sum()


def cosines(gradients: Sequence[Tree]) -> jax.Array:
    """(T * (T - 1) / 2,) of the angles between every two."""
    lengths = [jnp.sqrt(dot(gradient, gradient)) for gradient in gradients]
    pairs = [(i, j) for i in range(len(gradients)) for j in range(i)]
    return jnp.stack([dot(gradients[i], gradients[j]) / jnp.maximum(lengths[i] * lengths[j], 1e-30) for i, j in pairs])


def total(gradients: Sequence[Tree]) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves).sum(axis=0), *gradients)


def without_conflicts(gradients: Sequence[Tree], order: jax.Array) -> list[Tree]:
    """Each gradient without what points against another one (Yu et al. 2020, arXiv:2001.06782, algorithm 1).

    `order` (T,): the others are gone through in it, each as it was at first.
    """
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *gradients)
    lengths = jnp.stack([dot(gradient, gradient) for gradient in gradients])
    found = []
    for own, gradient in enumerate(gradients):
        for place in range(len(gradients)):
            number = order[place]
            other = jax.tree.map(lambda leaf, number=number: leaf[number], stacked)
            against = jnp.minimum(dot(gradient, other), 0.0) / jnp.maximum(lengths[number], 1e-30)
            share = jnp.where(number == own, 0.0, against)
            gradient = jax.tree.map(lambda mine, its, share=share: mine - share * its, gradient, other)
        found.append(gradient)
    return found


def balanced(
    weights: jax.Array, norms: jax.Array, losses: jax.Array, first: jax.Array, alpha: float, rate: float
) -> jax.Array:
    """The next (T,) weights of GradNorm (Chen et al. 2018, arXiv:1711.02257, eq. 1 and 2, algorithm 1), of sum T.

    `norms` are those of the gradients of the weighted losses. A task that has come less far than the others, by its
    loss over its `first`, is to have a larger one; `rate` is that of the step on the sum of |norm - aim|, in which the
    aims are constants.
    """
    # What is learnt to the end, or was never known, has come as far as can be: no task then lags behind another.
    ratio = jnp.where(first > 0, losses / jnp.where(first > 0, first, 1), 0)
    mean = ratio.mean()
    aim = norms.mean() * jnp.where(mean > 0, ratio / jnp.where(mean > 0, mean, 1), 1) ** alpha
    # A norm is its weight times that of the bare loss, so its slope is norm / weight.
    moved = jnp.maximum(weights - rate * jnp.sign(norms - aim) * norms / weights, 1e-3)
    return moved * (len(weights) / moved.sum())


def by_pace(before: jax.Array, last: jax.Array, temperature: float) -> jax.Array:
    """The (T,) weights of dynamic weight average (Liu et al. 2019, arXiv:1803.10704, eq. 7), of sum T.

    `before` and `last` are mean losses of two stretches of the run: what falls more slowly counts more.
    """
    return len(last) * jax.nn.softmax(last / before / temperature)
