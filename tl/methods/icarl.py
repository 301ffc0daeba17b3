"""iCaRL (Rebuffi et al. 2017, arXiv:1611.07725): kept images, old answers, and the class of the nearest mean, alg. 1-3.

    loss = sum over classes c of BCE(z_c, g_c),  g_c = sigmoid(z_c of the stage's start) for earlier c, else [y = c]
    answer = argmin_c |u(f) - u(m_c)|,  m_c: the mean of u(f) over the kept images of c,  u(x) = x / |x|

Kept images are drawn at random, not by herding. A finished run predicts with its means, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl import contrast, losses
from tl.batches import Batch, join
from tl.errors import InputError
from tl.methods.base import Method, class_means, plain_labels, start_of, the_classification
from tl.tasks import Task, head_name


def make(tasks: Mapping[str, Task], *, earlier: int) -> Method:
    """No hyper-parameters but config.exemplars."""
    task = the_classification(tasks, "icarl")
    plain_labels("icarl", task)
    if earlier == task.outputs:
        raise InputError(
            "the method 'icarl' learns new classes, and here none is new: take replay or lwf_incremental where the "
            "same classes come from other data."
        )
    parts = ("backbone", head_name(list(tasks), task.name))

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        rows = join(batch["train"], batch["earlier"]) if earlier else batch["train"]
        outputs = net.outputs(rows)[task.name]
        wanted = jax.nn.one_hot(rows[task.name], task.outputs, dtype=outputs.dtype)
        if earlier:
            said = jax.nn.sigmoid(net.elsewhere(**memory["start"]).outputs(rows, train=False)[task.name])
            wanted = wanted.at[:, :earlier].set(jax.lax.stop_gradient(said)[:, :earlier])
        return task.outputs * losses.sigmoid_cross_entropy(outputs, wanted).mean(), {}

    def memory(net: Any, data: Any) -> dict[str, Any]:
        features = jax.eval_shape(net.features, next(iter(data["exemplars"])))
        means = jnp.zeros((task.outputs, features.shape[1]), features.dtype)
        return {"means": means, "start": start_of(net, *parts) if earlier else ()}

    def ready(net: Any, memory: Any, data: Any) -> dict[str, Any]:
        """The class means of the kept images, by the network as it is now."""
        return {**memory, "means": class_means(net, data["exemplars"], task).astype(memory["means"].dtype)}

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        return {task.name: contrast.to_means(net.features(inputs), memory["means"])}

    streams = ("train", "earlier", "exemplars") if earlier else ("train", "exemplars")
    return Method(streams=streams, steps=[(loss, None)], memory=memory, ready=ready, kept=("means",), predict=predict)
