"""Learning at test time: each set is a stream of batches, every one answered as it comes and learnt from at once.

A set is met by the run's own network, not by what another has made of it; nothing of what was learnt is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax

from tl import begin
from tl.data import streams
from tl.evaluators.collect import Collected, collect
from tl.optim import Optimizer
from tl.step import State, make_answer

if TYPE_CHECKING:
    from tl.train import Experiment


def answers(
    experiment: Experiment,
    state: State,
    optimizer: Optimizer,
    own_stats: Callable[[str], bool],
    names: Iterable[str],
) -> dict[str, Collected]:
    """{set: the answers to it, in the order of its images}; they come in another, drawn by config.seed."""
    config, mesh = experiment.config, experiment.mesh
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    answer = make_answer(begin.binder(experiment, own_stats), experiment.method, optimizer)
    jitted = jax.jit(answer, out_shardings=(places, None))

    def one(name: str) -> Collected:
        held, now = experiment.evals[name], state
        assert held.split is not None
        field = held.split.field
        assert held.transform is not None

        def said(batch: Mapping[str, Any]) -> dict[str, jax.Array]:
            nonlocal now
            now, outputs = jitted(now, {field: batch[field]})  # nothing else: no label
            return {f"outputs/{task}": value for task, value in outputs.items()}

        batch_size = config.eval_batch_size or config.batch_size
        return collect(said, streams.arriving(held.split, held.transform, batch_size, config.seed, mesh))

    return {name: one(name) for name in names}
