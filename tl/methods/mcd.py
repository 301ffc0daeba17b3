"""Maximum classifier discrepancy (Saito et al. 2018, arXiv:1712.02560): two heads disagree, the features make peace.

A: everything moves    min CE(z1_s, y) + CE(z2_s, y) + entropy u
B: the heads move      min CE(z1_s, y) + CE(z2_s, y) - weight d + entropy u
C: the features move   min weight d, `repeats` times
d = mean |p1_t - p2_t|,  u = -H(mean p1_t) - H(mean p2_t)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import alignment, losses
from tl.batches import Batch, join, parted
from tl.methods.base import Method, Part, the_classification
from tl.models.heads import Head
from tl.tasks import Task

FEATURES, HEADS = ("backbone", "bottleneck"), ("head", "head2")


def make(
    tasks: Mapping[str, Task],
    *,
    weight: float = 1.0,
    entropy: float = 0.0,
    repeats: int = 4,
    hidden: tuple[int, ...] = (),
) -> Method:
    """Steps A, B and `repeats` times C of section 3.3; `entropy`: weight of the balance of the target's predictions.

    `hidden`: layers of the second head; the first is config.head. Predictions are the mean of both.
    """
    task = the_classification(tasks, "mcd")

    def seen(net: Any, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Supervised loss of both heads, their discrepancy on the target, and minus the entropy of the mean."""
        labels = batch["train"][task.name]
        features = net.features(join(batch["train"], batch["target"]), streams=2)
        source, target = zip(*(parted(net.classify(features, part=head), 2) for head in HEADS), strict=True)
        supervised = task.loss(source[0], labels) + task.loss(source[1], labels)
        apart = alignment.classifier_discrepancy(*target).mean()
        even = losses.mean_entropy(target[0]) + losses.mean_entropy(target[1])
        return supervised, apart, -even

    def learn(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        supervised, _, uneven = seen(net, batch)
        return supervised + entropy * uneven, {"loss_source": supervised}

    def disagree(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        supervised, apart, uneven = seen(net, batch)
        return supervised - weight * apart + entropy * uneven, {}

    def agree(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        _, apart, _ = seen(net, batch)
        return weight * apart, {"discrepancy": apart}

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        features = net.features(inputs)
        return {task.name: (net.classify(features) + net.classify(features, part="head2")) / 2}

    return Method(
        streams=("train", "target"),
        steps=[(learn, None), (disagree, HEADS), *[(agree, FEATURES)] * repeats],
        parts={"head2": Part(lambda: Head(task.outputs, tuple(hidden)))},
        predict=predict,
    )
