"""Bi-Tuning (Zhong et al. 2020, arXiv:2011.06182): classes and single images learn from each other's keys, section 4.

    loss = CE(z, y) + weight_classes L(w_y, f) + weight_images L(g(f), g'(f'))    ': the slow network, another view
    L(a, k) = -mean over k+ of log(exp(a k+ / temperature) / sum over all keys k of exp(a k / temperature))
    k+: the own key and the kept keys of class y;  slow <- momentum slow + (1 - momentum) network

Keys are features of other views by a slowly following network, a queue for each class. The classifier's weights are
constant in the contrastive term, as in the Transfer Learning Library.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tl import contrast
from tl.batches import Batch, joined
from tl.errors import InputError
from tl.methods.base import Method, Part, the_classification, within
from tl.models.heads import Head
from tl.tasks import Task, head_name

MOVING = ("backbone", "bottleneck", "projector")  # what the slow network follows


def make(
    tasks: Mapping[str, Task],
    *,
    keys: int = 40,
    momentum: float = 0.999,
    temperature: float = 0.07,
    width: int = 128,
    weight_classes: float = 1.0,
    weight_images: float = 1.0,
) -> Method:
    """`keys` of each class; `momentum` of the network that makes them; `width` of the projection of single images.

    The weights are of the contrastive cross-entropy on classifier weights and of the categorical contrastive loss.
    """
    task = the_classification(tasks, "bi_tuning")
    head = head_name(list(tasks), task.name)
    within("momentum", momentum, 0, 1)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        labels = batch["train"][task.name]
        logits, features, projected = seen(net, task, batch["train"])
        slow = net.elsewhere(memory["params"], {})
        _, new_features, new_projected = jax.lax.stop_gradient(seen(slow, task, batch["train_strong"], train=False))
        held = jnp.arange(keys)[None] < memory["count"][:, None]
        weights = class_rows(net.params[head], features.shape[1])
        class_weights = jax.lax.stop_gradient(weights)[labels].astype(features.dtype)

        def apart(anchor: jax.Array, own: jax.Array, queue: jax.Array) -> jax.Array:
            near = (anchor * own).sum(axis=1) / temperature
            others = jnp.einsum("nd,ckd->nck", anchor, queue.astype(anchor.dtype)) / temperature
            return contrast.of_class(near, others, held, labels).mean()

        by_class = apart(class_weights, features, memory["features"])
        by_image = apart(projected, new_projected, memory["projected"])
        task_loss = task.loss(logits, labels)
        carry = {"features": new_features, "projected": new_projected, "labels": labels}
        scalars = {"loss_task": task_loss, "loss_classes": by_class, "loss_images": by_image}
        return task_loss + weight_classes * by_class + weight_images * by_image, {**scalars, "carry": carry}

    def memory(net: Any, data: Any) -> dict[str, Any]:
        inputs = next(iter(data["train"]))
        if "projector" not in net.params:
            seen(net, task, inputs)  # creates it
        _, features, projected = jax.eval_shape(lambda: seen(net, task, inputs))
        return {
            "params": {part: net.params[part] for part in MOVING if part in net.params},
            "features": jnp.zeros((task.outputs, keys, features.shape[1]), features.dtype),
            "projected": jnp.zeros((task.outputs, keys, projected.shape[1]), projected.dtype),
            "count": jnp.zeros(task.outputs, jnp.int32),
        }

    return Method(
        streams=("train", "train_strong"),
        steps=[(loss, None)],
        parts={"projector": Part(lambda: Head(width))},
        memory=memory,
        after=partial(after, momentum),
        pieces=joined,
    )


def class_rows(last: Mapping[str, jax.Array], width: int) -> jax.Array:
    """(C, width) of length 1: the classifier's rows with their bias; InputError where it does not read the features."""
    if len(last["kernel"]) + 1 != width:
        raise InputError(
            "the method 'bi_tuning' compares features with the classifier's rows, which read other ones here: set "
            "config.head.hidden=() and head.maps=()."
        )
    return contrast.unit(jnp.concatenate([last["kernel"], last["bias"][None]]).T)


def seen(net: Any, task: Task, inputs: Mapping[str, jax.Array], **flags: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Outputs, features with a constant 1 beside them, and projections; these two of length 1."""
    features, outputs = net.both(inputs, **flags)
    ones = jnp.ones((features.shape[0], 1), features.dtype)
    projected = net.classify(features, part="projector", **flags)
    return outputs[task.name], contrast.unit(jnp.concatenate([features, ones], axis=1)), contrast.unit(projected)


def after(momentum: float, memory: Any, variables: Any, carry: Any) -> dict[str, Any]:
    """The slow network follows, and the newest keys take the place of the oldest."""

    def queued(name: str) -> tuple[jax.Array, jax.Array]:
        queue = memory[name]
        return contrast.enqueue(queue, memory["count"], carry[name].astype(queue.dtype), carry["labels"])

    features, count = queued("features")
    projected, _ = queued("projected")
    fast = {part: variables["params"][part] for part in memory["params"]}
    followed = jax.tree.map(lambda old, new: momentum * old + (1 - momentum) * new, memory["params"], fast)
    return {"params": followed, "features": features, "projected": projected, "count": count}
