"""Supervised training of whatever the groups let move: from scratch, a probe, or fine-tuning (Yosinski et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import mixing
from tl.errors import InputError
from tl.methods.base import Batch, Method
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, mixup: float = 0.0, cutmix: float = 0.0) -> Method:
    """The sum of the tasks' losses. `mixup` and `cutmix` are the alpha of their Beta distribution; 0 is off."""
    if mixup < 0 or cutmix < 0 or (mixup and cutmix):
        raise InputError(f"mixup={mixup} and cutmix={cutmix}: at most one of them may be on, with alpha > 0.")
    mix, alpha = (mixing.cutmix, cutmix) if cutmix else (mixing.mixup, mixup)

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        inputs = batch["train"]
        if not alpha:
            outputs = net.outputs(inputs)
            values = {name: task.loss(outputs[name], inputs[name]) for name, task in tasks.items()}
        else:
            mixed = mix(key, inputs["image"], alpha, net.dtype)
            outputs = net.outputs({**inputs, "image": mixed.image})
            values = {}
            for name, task in tasks.items():
                own = task.loss(outputs[name], inputs[name])
                other = task.loss(outputs[name], inputs[name][mixed.partner])
                values[name] = mixed.share * own + (1 - mixed.share) * other
        parts = {f"loss_{name}": value for name, value in values.items()} if len(values) > 1 else {}
        return jnp.stack(list(values.values())).sum(), parts

    return Method(streams=("train",), steps=[(loss, None)])
