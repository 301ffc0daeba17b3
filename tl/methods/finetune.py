"""Supervised training of whatever the groups let move: from scratch, a probe, or fine-tuning (Yosinski et al. 2014).

loss = sum over tasks of mean L(z(x), y)
mixup:   b L(z(x'), y_i) + (1 - b) L(z(x'), y_j),  x' = b x_i + (1 - b) x_j,  b ~ Beta(mixup, mixup)
cutmix:  the same, of x' = x_i with a rectangle of the share 1 - b pasted from x_j,  b ~ Beta(cutmix, cutmix)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import mixing, multitask
from tl.batches import Batch
from tl.errors import InputError
from tl.methods.base import Method, loss_of_each
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, mixup: float = 0.0, cutmix: float = 0.0) -> Method:
    """The sum of the tasks' losses. `mixup` and `cutmix` are the alpha of their Beta distribution; 0 is off."""
    if mixup < 0 or cutmix < 0 or (mixup and cutmix):
        raise InputError(f"mixup={mixup} and cutmix={cutmix}: at most one of them may be on, with alpha > 0.")
    mix, alpha = (mixing.cutmix, cutmix) if cutmix else (mixing.mixup, mixup)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        if not alpha:
            each = loss_of_each(net, tasks, inputs)
        else:
            mixed = mix(key, inputs["image"], alpha, net.dtype)
            outputs = net.outputs({**inputs, "image": mixed.image})
            values = []
            for name, task in tasks.items():
                own = task.loss(outputs[name], inputs[name])
                other = task.loss(outputs[name], inputs[name][mixed.partner])
                values.append(mixed.share * own + (1 - mixed.share) * other)
            each = jnp.stack(values)
        return each.sum(), multitask.named("loss", tasks, each) if len(tasks) > 1 else {}

    return Method(streams=("train",), steps=[(loss, None)], by_row=not alpha)
