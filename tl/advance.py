"""How steps are taken: one by one over batches from the host, or many in one call over rows that lie on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tl import mesh as meshes
from tl.data.order import Order
from tl.step import State

Step = Callable[[State, Any], tuple[State, dict[str, jax.Array]]]
# advance(state, step, until) -> (state, the step reached, at most `until`; scalars, () of one step or (K,) of several)
Advance = Callable[[State, int, int], tuple[State, int, dict[str, jax.Array]]]

MOST_STEPS = 64  # in one call: between two calls Ctrl-C is heard and progress is shown


def compiled(step_fn: Callable[..., Any], state: State) -> Callable[..., Any]:
    """Jitted; the state that it is given is donated, and the next one lies where it lay."""
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    return jax.jit(step_fn, donate_argnums=0, out_shardings=(places, state.step.sharding))  # a scalar's is replicated


def one_by_one(step_fn: Step, state: State, batches: Iterator[Any]) -> Advance:
    """A call of the jitted step for every batch."""
    jitted = compiled(step_fn, state)

    def advance(state: State, step: int, until: int) -> tuple[State, int, dict[str, jax.Array]]:
        state, scalars = jitted(state, next(batches))
        return state, step + 1, scalars

    return advance


def in_bursts(
    step_fn: Step,
    state: State,
    rows: Mapping[str, Mapping[str, np.ndarray]],
    orders: Mapping[str, Order],
    batch_size: int,
    mesh: Mesh,
) -> Advance:
    """A loop on the device over up to MOST_STEPS batches, cut there out of `rows`: {stream: {field: (N, ...)}}.

    The number of steps is an argument of the compiled loop, so evaluations and saves at any step compile nothing anew.
    """
    held = meshes.put({stream: dict(fields) for stream, fields in rows.items()}, meshes.replicated(mesh))
    sharding = meshes.batch_sharding(mesh)

    def burst(state: State, held: Any, chosen: dict[str, jax.Array], count: jax.Array):
        def batch(i: Any) -> Any:
            cut = {s: {f: values[chosen[s][i]] for f, values in fields.items()} for s, fields in held.items()}
            return jax.lax.with_sharding_constraint(cut, sharding)

        def body(i: Any, carry: Any) -> Any:
            state, found = carry
            state, scalars = step_fn(state, batch(i))
            return state, {name: found[name].at[i].set(value) for name, value in scalars.items()}

        scalars = jax.eval_shape(lambda: step_fn(state, batch(0)))[1]
        empty = {name: jnp.zeros((MOST_STEPS, *value.shape), value.dtype) for name, value in scalars.items()}
        return jax.lax.fori_loop(0, count, body, (state, empty))

    jitted = compiled(burst, state)

    def advance(state: State, step: int, until: int) -> tuple[State, int, dict[str, jax.Array]]:
        count = min(until - step, MOST_STEPS)
        chosen = {
            stream: meshes.put(
                order.rows(step * batch_size, (step + MOST_STEPS) * batch_size).reshape(MOST_STEPS, batch_size),
                meshes.replicated(mesh),
            )
            for stream, order in orders.items()
        }
        state, scalars = jitted(state, held, chosen, np.int32(count))
        return state, step + count, {name: value[:count] for name, value in scalars.items()}

    return advance
