"""Dense graph propagation predicts a classifier's rows (Kampffmeyer et al. 2019, arXiv:1805.11724; Wang et al. 2018).

rows = sum_k a_k A_k relu(sum_k d_k D_k X T) U,  loss = |rows - R|^2 / 2, both of length 1

X are features of the nodes, D_k the means over descendants k steps below and A_k over ancestors k steps above, d and a
learnt softmaxes over k, T and U learnt, R the classifier's own rows. Wang et al., arXiv:1803.08035, send features along
one edge at a time, through more layers: that network is replaced by Kampffmeyer et al.'s dense propagation, and the
vectors of names that both papers have for X by coordinates of random walks over the graph (tl/data/rows.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tl import contrast, graphs
from tl.batches import Batch
from tl.methods.base import Method, Part, within
from tl.models.heads import Bottleneck, Head, Scalars
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task], *, hidden: int = 2048, dropout: float = 0.5, scale: float = 1.0, nodes: np.ndarray
) -> Method:
    """`hidden` features of each node, with `dropout` of these and of the second layer's input; X times `scale`."""
    task = graphs.the_retrieval(tasks, "dgp", nodes)
    within("hidden", hidden, 1, 10**6)
    within("dropout", dropout, 0, 0.99)
    groups = len(nodes)

    def outputs(net: Any, inputs: Mapping[str, jax.Array]) -> jax.Array:
        near = net.features(inputs)
        near = near.reshape(len(near), groups, -1)
        known = jnp.asarray(nodes, near.dtype) * scale
        found = net.hidden(jnp.einsum("k,kmd->md", jax.nn.softmax(net.down()), known))
        return contrast.unit(net.rows({"pooled": jnp.einsum("k,bkm,mh->bh", jax.nn.softmax(net.up()), near, found)}))

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        return task.loss(outputs(net, batch["train"]), batch["train"][task.name]), {}

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        return {task.name: outputs(net, inputs)}

    parts = {name: Part(partial(Scalars, groups)) for name in ("down", "up")}
    parts["hidden"] = Part(partial(Bottleneck, hidden, norm=False, dropout=dropout))
    parts["rows"] = Part(partial(Head, task.outputs, dropout=dropout))
    return Method(streams=("train",), steps=[(loss, None)], parts=parts, heads=False, predict=predict)
