"""The state of a training run and the one jitted function that advances it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import eval_jaxpr
from jax.interpreters import partial_eval

from tl import privacy
from tl.batches import Batch
from tl.errors import InputError
from tl.methods.base import Loss, Method
from tl.net import Net
from tl.optim import Optimizer, map_paths, paths


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    """Everything that resuming needs: plain nested dicts of arrays. `ema`: an average of the weights, {} for none."""

    step: jax.Array
    params: dict[str, Any]
    stats: dict[str, Any]
    opt: dict[str, Any]
    memory: Any
    ema: dict[str, Any]

    @property
    def variables(self) -> dict[str, Any]:
        """The weights that are evaluated: the average where one is kept."""
        return self.ema or {"params": self.params, "stats": self.stats}


Bind = Callable[..., Net]  # bind(params, stats, train=..., key=...) -> Net


def create(bind: Bind, method: Method, batch: Batch, key: jax.Array) -> dict[str, Any]:
    """Run every loss once on a net without parameters -> {"params", "stats"}, freshly initialised, by part."""
    net = bind({}, {}, init_key=jax.random.fold_in(key, 0), key=jax.random.fold_in(key, 1))
    # Backbone and heads first: a method's memory may be made of them.
    (net.outputs if method.heads else net.features)(batch[method.streams[0]])
    memory = method.memory(net, {stream: [batch[stream]] for stream in method.streams})
    for loss, _ in method.steps:
        loss(net, batch, memory, jax.random.fold_in(key, 2), jnp.zeros(()))
    if net.domain_norm and not net.joined:
        raise InputError(
            "config.domain_norm=True keeps the batch norm of streams that are read together apart, and config.method "
            "reads none together: leave it False, or take a method that compares domains."
        )
    return {"params": net.params, "stats": net.stats}


class Fresh:
    """What a function without arguments creates: `shapes` at once, values where they are asked for. Traced once.

    Compiling the initialisers of a large network takes longer than compiling its training step.
    """

    def __init__(self, create_all: Callable[[], dict[str, Any]]) -> None:
        self._traced, self.shapes = jax.make_jaxpr(create_all, return_shape=True)()

    def filled(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """The variables, with the `flat` leaves ("params/backbone/...") in place and only the others initialised."""
        names = list(paths(self.shapes))
        missing = [path not in flat for path in names]
        left, _ = partial_eval.dce_jaxpr(self._traced.jaxpr, missing)
        # Random initialisers run once and compile for seconds each: on a CPU they are not worth optimising.
        options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        pick = jax.jit(lambda: eval_jaxpr(left, self._traced.consts), compiler_options=options)
        new = dict(zip((path for path, wanted in zip(names, missing, strict=True) if wanted), pick(), strict=True))
        return map_paths(
            lambda path, like: jnp.asarray(flat[path], like.dtype) if path in flat else new[path], self.shapes
        )


def make_step(
    bind: Bind,
    method: Method,
    optimizer: Optimizer,
    *,
    steps: int,
    seed: int,
    accumulate: int = 1,
    average: Callable[[jax.Array], jax.Array] | None = None,
    private: Mapping[str, float] | None = None,
) -> Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]:
    """`step(state, batch) -> (state, scalars)`, pure; the caller jits it with the state donated.

    `average`: the number of the step -> how far the average of the weights moves towards the new ones. `private`: the
    `clip` and `noise` of privacy.gradient.
    """

    def step(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), state.step)
        progress = state.step.astype(jnp.result_type(float)) / max(1, steps)  # float64 where all is
        params, stats, opt = state.params, state.stats, state.opt
        scalars: dict[str, jax.Array] = {}
        carry: dict[str, Any] = {}
        for index, (loss, named) in enumerate(method.steps):
            # A network may do without these two; of any other name the optimiser asks what it means.
            parts = named and [p for p in named if p in params or p not in ("backbone", "bottleneck")]
            objective = partial(
                _objective,
                bind,
                optimizer,
                loss,
                method,
                state.memory,
                progress,
                jax.random.fold_in(key, index),
            )
            if private:
                grads, value, aux = _private(objective, method, params, stats, batch, private, key)
                new_stats = stats
            else:
                grads, value, aux, new_stats = _gradients(objective, method, params, stats, batch, accumulate)
            stats = {p: tree if parts is None or p in parts else stats[p] for p, tree in new_stats.items()}
            params, opt, norm = optimizer.update(grads, opt, params, state.step, parts)
            carry.update(aux.pop("carry", {}))
            suffix = "" if len(method.steps) == 1 else f"_{index}"
            scalars |= {f"loss{suffix}": value, f"grad_norm{suffix}": norm, **aux}
        variables = {"params": params, "stats": stats}
        memory = method.after(state.memory, {"params": bind(params, stats).params, "stats": stats}, carry)
        mean = _moved(state, variables, optimizer, average(state.step)) if average else state.ema
        scalars["lr"] = optimizer.schedule(state.step)
        # The loss is that of the parameters before the update: only this shows that the update itself was sound.
        scalars["param_norm"] = optax.tree.norm([p for path, p in paths(params).items() if optimizer.moves(path)])
        return State(state.step + 1, params, stats, opt, memory, mean), scalars

    return step


def make_answer(
    bind: Bind, method: Method, optimizer: Optimizer
) -> Callable[[State, Mapping[str, jax.Array]], tuple[State, dict[str, jax.Array]]]:
    """`answer(state, images) -> (state, outputs)`, pure: a method's outputs for a batch, and what it makes of it."""
    online = method.online
    assert online is not None

    def answer(state: State, images: Mapping[str, jax.Array]) -> tuple[State, dict[str, jax.Array]]:
        def objective(params: dict[str, Any]) -> tuple[jax.Array, Any]:
            value, *rest = online(bind(optimizer.freeze(params), state.stats, adapts=True), state.memory, images)
            return value, rest

        grads, (outputs, memory) = jax.grad(objective, has_aux=True)(state.params)
        params, opt, _ = optimizer.update(grads, state.opt, state.params, state.step, None)
        return dataclasses.replace(state, step=state.step + 1, params=params, opt=opt, memory=memory), outputs

    return answer


def _objective(
    bind: Bind,
    optimizer: Optimizer,
    loss: Loss,
    method: Method,
    memory: Any,
    progress: jax.Array,
    key: jax.Array,
    stats: dict[str, Any],
    batch: Batch,
    micro: jax.Array | int,
    params: dict[str, Any],
) -> tuple[jax.Array, tuple[dict[str, Any], dict[str, Any]]]:
    key = jax.random.fold_in(key, micro)
    net = bind(optimizer.freeze(params), stats, train=True, key=jax.random.fold_in(key, 0))
    value, aux = loss(net, batch, memory, jax.random.fold_in(key, 1), progress)
    return value, (dict(aux), net.stats)


def _gradients(
    objective: Callable[..., Any],
    method: Method,
    params: dict[str, Any],
    stats: dict[str, Any],
    batch: Batch,
    accumulate: int,
) -> tuple[Any, jax.Array, dict[str, Any], dict[str, Any]]:
    """Gradient, loss, scalars and statistics of the batch, in `accumulate` pieces one after the other."""
    if accumulate == 1:
        grads, (value, (aux, stats)) = method.gradient(partial(objective, stats, batch, 0), params)
        return grads, value, aux, stats

    # Rows are dealt out in turn, so that every piece holds the same share of each device's rows and none has to move.
    pieces = jax.tree.map(lambda x: x.reshape(x.shape[0] // accumulate, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)

    def body(carry: Any, micro: Any) -> Any:
        total, stats = carry
        number, piece = micro
        grads, (value, (aux, stats)) = method.gradient(partial(objective, stats, piece, number), params)
        return (jax.tree.map(jnp.add, total, grads), stats), (value, aux)

    zeros = jax.tree.map(jnp.zeros_like, params)
    (total, stats), (values, aux) = jax.lax.scan(body, (zeros, stats), (jnp.arange(accumulate), pieces))
    carry = {"carry": method.pieces(aux.pop("carry"))} if "carry" in aux else {}
    means = jax.tree.map(lambda x: x.mean(axis=0), aux)
    return jax.tree.map(lambda g: g / accumulate, total), values.mean(), {**means, **carry}, stats


def _private(
    objective: Callable[..., Any],
    method: Method,
    params: dict[str, Any],
    stats: dict[str, Any],
    batch: Batch,
    how: Mapping[str, float],
    key: jax.Array,
) -> tuple[Any, jax.Array, dict[str, Any]]:
    """Gradient, loss and scalars of a batch, of which no row shows by itself."""

    def of_one(row: Batch, number: jax.Array) -> tuple[Any, Any]:
        grads, (value, (aux, _)) = method.gradient(partial(objective, stats, row, number), params)
        return grads, (value, aux)

    noisy = jax.random.fold_in(key, len(method.steps))
    grads, (value, aux, clipped) = privacy.gradient(of_one, batch, **how, key=noisy)
    return grads, value, {**aux, "clipped": clipped}


def _moved(state: State, variables: dict[str, Any], optimizer: Optimizer, rate: jax.Array) -> dict[str, Any]:
    """The average of what moves, `rate` of the way nearer to the new weights; what is frozen as it is."""

    def move(path: str, old: jax.Array, new: jax.Array) -> jax.Array:
        frozen = path.startswith("params/") and not optimizer.moves(path.removeprefix("params/"))
        return new if frozen else old + rate.astype(old.dtype) * (new - old)

    flat = paths(variables)
    return map_paths(lambda path, old: move(path, old, flat[path]), state.ema)
