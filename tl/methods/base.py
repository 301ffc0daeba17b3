"""The protocol every method follows: what a batch holds, which losses move which parts, and how to predict.

A method is a module `tl/methods/NAME.py` with `make(tasks, *, hyper_parameter=..., ...) -> Method`. The loop knows
no method: it reads the fields below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

Batch = Mapping[str, Mapping[str, jax.Array]]  # {stream: {field: array}}
# loss(net, batch, memory, key, progress) -> (scalar, aux): scalars in aux are logged, aux["carry"] reaches `after`
Loss = Callable[[Any, Batch, Any, jax.Array, jax.Array], tuple[jax.Array, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Part:
    """A network beside backbone and head. `make()` builds the module: a factory, never a shared instance."""

    make: Callable[[], Any]
    weights: str | None = None
    trained: bool = True
    preprocess: Any = None


def scalar_gradient(objective: Callable[[Any], tuple[jax.Array, Any]], params: Any) -> tuple[Any, Any]:
    """`objective(params) -> (scalar, rest)`: the gradient, and `rest` with the value in front."""
    (value, rest), grads = jax.value_and_grad(objective, has_aux=True)(params)
    return grads, (value, rest)


@dataclasses.dataclass(frozen=True)
class Method:
    """See docs/architecture.md; the defaults make plain supervised training."""

    streams: tuple[str, ...]
    steps: Sequence[tuple[Loss, tuple[str, ...] | None]]  # in order: the loss, and the parts it may move (None = all)
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    memory: Callable[[Any, Any], Any] = lambda net, data: ()
    after: Callable[[Any, Any, Any], Any] = lambda memory, variables, carry: memory
    gradient: Callable[..., tuple[Any, Any]] = scalar_gradient
    predict: Callable[[Any, Mapping[str, jax.Array], Any], dict[str, jax.Array]] = lambda net, inputs, memory: (
        net.outputs(inputs)
    )


def head_name(tasks: Sequence[str], task: str) -> str:
    """The part that holds a task's head: `head` where there is one task, `head_TASK` where there are several."""
    return "head" if len(tasks) == 1 else f"head_{task}"
