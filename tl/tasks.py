"""What is to be predicted: a loss for training, a width for the head, metrics and predictions for evaluation.

A retrieval asks for a vector of length 1, which is to be nearest, of those of all rows of a set, to the row's own.
A ranking asks which of many entities, its classes, is the answer: outputs are scores (N, E) in training, in evaluation
the (N,) filtered ranks of the answers, since a table of all scores would be too large to keep.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tl import losses, metrics
from tl.errors import InputError, unknown
from tl.spans import NONE


@dataclasses.dataclass(frozen=True)
class Task:
    """`each(outputs (N, outputs), labels) -> (N,)` losses, `loss` is their mean. `metrics`, `probabilities`: numpy.

    Of tags outputs are (N, L, outputs), and `loss` is the mean over all tokens with a tag, `each` over those of a row.

    `outputs_of` is the inverse of `probabilities`, up to what the metrics do not see: for averages of predictions.
    """

    name: str
    kind: str
    outputs: int
    classes: tuple[str, ...]
    each: Callable[[jax.Array, jax.Array], jax.Array]  # a class weight included
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    probabilities: Callable[[np.ndarray], np.ndarray]
    outputs_of: Callable[[np.ndarray], np.ndarray] = lambda probabilities: probabilities
    plain: bool = True  # the losses know neither label smoothing nor class weights


def make(
    name: str,
    kind: str,
    classes: tuple[str, ...],
    *,
    label_smoothing: float = 0.0,
    class_weights: np.ndarray | None = None,
) -> Task:
    """A task of one of KINDS; `classes` are the class names, or the names of the targets of a regression.

    `class_weights` (C,) weigh the examples of a classification by their class; with label smoothing the whole
    smoothed loss of an example is weighed by its own class (torch weighs the smoothed share by every class's weight).
    """
    if kind not in KINDS:
        raise unknown("task", kind, KINDS)
    if kind != "classification" and (label_smoothing or class_weights is not None):
        raise InputError(
            f"label smoothing and class weights belong to classification, not to the task '{kind}': remove them."
        )
    if not 0 <= label_smoothing < 1:
        raise InputError(f"label_smoothing is {label_smoothing}: it must lie in 0 <= e < 1.")
    if kind == "binary" and len(classes) != 2:
        raise InputError(f"a binary task needs two classes, the data has {len(classes)}: use task=classification.")
    made = KINDS[kind](name, tuple(classes), label_smoothing, class_weights)
    return dataclasses.replace(made, plain=not label_smoothing and class_weights is None)


def _classification(name: str, classes: tuple[str, ...], smoothing: float, weights: np.ndarray | None) -> Task:
    def weigh(outputs: jax.Array, labels: jax.Array) -> jax.Array | None:
        return None if weights is None else jnp.asarray(weights, outputs.dtype)[labels]

    def loss(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.weighted_mean(losses.cross_entropy(outputs, labels, smoothing), weigh(outputs, labels))

    def each(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        own = weigh(outputs, labels)
        return losses.cross_entropy(outputs, labels, smoothing) * (1.0 if own is None else own)

    return Task(
        name, "classification", len(classes), classes, each, loss, metrics.classification, metrics.softmax, _log
    )


def _binary(name: str, classes: tuple[str, ...], *_: object) -> Task:
    """One output; the metrics are those of the two classes with logits (0, z)."""

    def both(outputs: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(outputs), outputs], axis=1)

    return _unweighted(
        name,
        "binary",
        1,
        classes,
        lambda outputs, labels: losses.sigmoid_cross_entropy(outputs, labels[:, None]),
        lambda outputs, labels: metrics.classification(both(outputs), labels),
        lambda outputs: metrics.softmax(both(outputs)),
        lambda p: _log(p[:, 1:]) - _log(p[:, :1]),
    )


def _multi_label(name: str, classes: tuple[str, ...], *_: object) -> Task:
    return _unweighted(
        name,
        "multi_label",
        len(classes),
        classes,
        losses.sigmoid_cross_entropy,
        metrics.multi_label,
        metrics.sigmoid,
        lambda p: _log(p) - _log(1 - p),
    )


def _regression(name: str, classes: tuple[str, ...], *_: object) -> Task:
    return _unweighted(
        name,
        "regression",
        len(classes),
        classes,
        lambda outputs, labels: losses.squared_error(outputs, _column(labels)),
        lambda outputs, labels: metrics.regression(outputs, _column(labels)),
        lambda outputs: outputs,
    )


def _ranking(name: str, classes: tuple[str, ...], *_: object) -> Task:
    each = losses.cross_entropy
    return _unweighted(name, "ranking", 1, classes, each, metrics.ranking, lambda outputs: outputs)


def _retrieval(name: str, classes: tuple[str, ...], *_: object) -> Task:
    each = losses.direction
    return _unweighted(name, "retrieval", len(classes), classes, each, metrics.retrieval, lambda outputs: outputs)


def _tags(name: str, classes: tuple[str, ...], *_: object) -> Task:
    def of_tokens(outputs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        there = labels != NONE
        return losses.cross_entropy(outputs, jnp.where(there, labels, 0)), there.astype(outputs.dtype)

    return Task(
        name,
        "tags",
        len(classes),
        classes,
        lambda outputs, labels: jax.vmap(losses.weighted_mean)(*of_tokens(outputs, labels)),
        lambda outputs, labels: losses.weighted_mean(*of_tokens(outputs, labels)),
        lambda outputs, labels: metrics.tagging(outputs, labels, classes),
        metrics.softmax,
        _log,
    )


def _unweighted(name: str, kind: str, outputs: int, classes: tuple[str, ...], each: Any, *rest: Any) -> Task:
    return Task(name, kind, outputs, classes, each, lambda found, labels: each(found, labels).mean(), *rest)


def of_some(task: Task) -> Task:
    """The same task where rows may have no label, -1 or NaN: these have no loss, and are in no mean."""

    def each(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        there = known(labels)
        filled = jnp.where(there[(...,) + (None,) * (labels.ndim - 1)], labels, 0)
        return jnp.where(there, task.each(outputs, filled), 0)

    def loss(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.weighted_mean(each(outputs, labels), known(labels).astype(outputs.dtype))

    return dataclasses.replace(task, each=each, loss=loss)


def known(labels: Any) -> Any:
    """(N,) or (N, K) labels, of jax or numpy -> (N,) whether a row has one; of tags a single one will do."""
    whole = labels.dtype.kind in "iu"
    there = labels >= 0 if whole else labels == labels  # NaN is not itself
    if whole and labels.ndim == 2:
        return there.any(axis=1)
    return there.all(axis=1) if labels.ndim == 2 else there


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, 1e-300))


def _column(labels):
    """(N,) -> (N, 1): one target may be stored flat."""
    return labels[:, None] if labels.ndim == 1 else labels


KINDS = {
    "classification": _classification,
    "binary": _binary,
    "multi_label": _multi_label,
    "regression": _regression,
    "ranking": _ranking,
    "retrieval": _retrieval,
    "tags": _tags,
}


def layers_of(tasks: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """{task: the part that holds the layer it shares} of those of config.tasks that have one."""
    return {name: f"layer_{task['layer']}" for name, task in tasks if task.get("layer")}


def head_name(tasks: Sequence[str], task: str) -> str:
    """The part that holds a task's head: `head` where there is one task, `head_TASK` where there are several."""
    return "head" if len(tasks) == 1 else f"head_{task}"


def own_parts(tasks: Sequence[str], layers: Mapping[str, str]) -> set[str]:
    """The parts that not all tasks go through: their heads, and those of `layers`, {task: part}, of some of them."""
    used = [layers.get(name) for name in tasks]
    return {head_name(tasks, name) for name in tasks} | {part for part in used if part and len({*used}) > 1}
