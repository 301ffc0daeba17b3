"""AdaMatch (Berthelot et al. 2022, arXiv:2106.04732, section 3): FixMatch between domains, eq. 1 to 7.

loss = (CE(z_s, y) + CE(z'_s, y)) / 2 + weight m(t) mean[sure CE(z'_t, q)]    ': the other, strong view
z_s = u z(s and t in a batch) + (1 - u) z(s alone),  u ~ U(0, 1)
q = stop(p_t mean(p_s) / mean(p_t)), of sum 1,  sure = max q >= threshold mean(max p_s)
m(t) = 1/2 - cos(min(pi, 2 pi t)) / 2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import losses
from tl.batches import Batch, interleave, join, parted
from tl.methods.base import Method, the_classification
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, weight: float = 1.0, threshold: float = 0.9, strong: bool = True) -> Method:
    """`threshold`: factor on the mean confidence on the source, above which a prediction on the target counts.

    Without `strong` the second view of an image is the same image under another draw of dropout.
    """
    task = the_classification(tasks, "adamatch")
    names = ("train", "train_strong", "target", "target_strong") if strong else ("train", "target")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        source, target = batch["train"], batch["target"]
        again = {name: batch[f"{name}_strong" if strong else name] for name in ("train", "target")}
        both = net.outputs(join(source, again["train"], target, again["target"]))[task.name]
        *both, weak, other = parted(both, 4)
        alone = net.outputs(join(source, again["train"]), update_stats=False)[task.name]
        # Random points between what the network says with and without the target in its batch statistics.
        share = jax.random.uniform(key, alone.shape, alone.dtype)
        first, second = parted(share * interleave(*both) + (1 - share) * alone, 2)
        supervised = (task.loss(first, source[task.name]) + task.loss(second, source[task.name])) / 2

        known = jax.lax.stop_gradient(jax.nn.softmax(first))
        guess = jax.lax.stop_gradient(jax.nn.softmax(weak))
        ratio = known.mean(axis=0) / jnp.maximum(guess.mean(axis=0), 1e-6)
        guess = guess * ratio[None, :]
        guess = guess / guess.sum(axis=1, keepdims=True)
        sure = (guess.max(axis=1) >= threshold * known.max(axis=1).mean()).astype(guess.dtype)
        own = (sure * losses.soft_cross_entropy(other, guess)).mean()
        ramp = 0.5 - jnp.cos(jnp.minimum(jnp.pi, 2 * jnp.pi * progress)) / 2
        return supervised + weight * ramp * own, {
            "loss_source": supervised,
            "loss_target": own,
            "sure": sure.mean(),
        }

    return Method(streams=names, steps=[(loss, None)])
