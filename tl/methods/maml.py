"""MAML (Finn et al. 2017, arXiv:1703.03400, algorithm 2): a start from which a step on the shots serves the queries.

    loss = mean over episodes of CE(z(queries; theta'), y)
    theta' = theta - rate d CE(z(shots; theta), y) / d theta, `steps` times

With `first_order` the gradient is that at the adapted parameters (their section 5.2); with `only="head"` ANIL (Raghu et
al. 2020, arXiv:1909.09157): the features stay as they are within an episode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax

from tl import episodes as maths
from tl import inner
from tl.episodes import Episodes, Shape
from tl.errors import unknown
from tl.methods.base import Method, by_episodes, same_way, the_classification, within
from tl.tasks import Task, head_name


def make(
    tasks: Mapping[str, Task],
    *,
    rate: float = 0.4,
    steps: int = 1,
    test_steps: int = 3,
    first_order: bool = False,
    only: str = "",
    episodes: Episodes,
) -> Method:
    """`rate` and `steps` of gradient descent on the shots of an episode, `test_steps` in evaluation."""
    task = the_classification(tasks, "maml")
    same_way("maml", episodes)
    within("rate", rate, 0, math.inf)
    within("steps", steps, 1, 1000)
    within("test_steps", test_steps, 0, 1000)
    head = head_name(list(tasks), task.name)
    parts = {"": ("backbone", "bottleneck", head), "head": (head,)}
    if only not in parts:
        raise unknown("part to adapt, method_args.only,", only, parts)

    def outputs(net: Any, inputs: Mapping[str, jax.Array], shape: Shape) -> jax.Array:
        support, query = maths.parted(inputs["image"], shape)
        params = inner.start(net, parts[only], {"image": query[0]}, "maml")
        labels, count = maths.labels_of_shots(shape), steps if net.train else test_steps

        def one(shots: jax.Array, queries: jax.Array) -> jax.Array:
            def cost(params: Any) -> jax.Array:
                return task.loss(net.elsewhere(params, {}).outputs({"image": shots})[task.name], labels)

            moved = inner.descended(cost, params, rate, count, first_order=first_order)
            return net.elsewhere(moved, {}).outputs({"image": queries})[task.name]

        return jax.vmap(one)(maths.in_line(support, shape), query)

    return by_episodes("maml", tasks, episodes, outputs, heads=True)
