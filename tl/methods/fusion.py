"""Class prototypes that are entities of a graph, learnt from images and triples together (Zhang et al. 2016, KDD).

loss = CE(cos(P f, e_class) / temperature, y) + weight CE(Re <e_h, r, conj e>, t)

e are embeddings of the graph's entities, which both losses share as in that paper's equation 11 ("Collaborative
Knowledge Base Embedding"), P a learnt projection. Triples are scored by ComplEx (Trouillon et al. 2016,
arXiv:1606.06357, equation 9).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tl import contrast, graphs, losses, triples
from tl.batches import Batch
from tl.methods.base import Method, Part, the_classification, within
from tl.models.heads import Projector
from tl.models.triples import Table
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    rank: int = 32,
    weight: float = 1.0,
    temperature: float = 0.1,
    start: float = 0.1,
    graph: graphs.Graph,
) -> Method:
    """`rank` complex numbers an embedding, of deviation `start` at first; `weight` of the triples' loss."""
    task = the_classification(tasks, "fusion")
    for name, value, least in (("rank", rank, 1), ("weight", weight, 0), ("temperature", temperature, 1e-3)):
        within(name, value, least, math.inf)

    def outputs(net: Any, inputs: Mapping[str, jax.Array]) -> jax.Array:
        prototypes = contrast.unit(net.entities(jnp.array(graph.classes)))
        found = contrast.unit(net.projection(net.features(inputs)))
        return triples.products(found, prototypes.astype(found.dtype)) / temperature

    def of_graph(net: Any, rows: Mapping[str, jax.Array]) -> jax.Array:
        asked = triples.times(net.entities(rows["triple"][:, 0]), net.relations(rows["triple"][:, 1]))
        scores = triples.products(asked, net.entities())
        known = jnp.arange(scores.shape[1])[None, :] < graph.entities  # behind them rows that only fill up the table
        return losses.cross_entropy(jnp.where(known, scores, graphs.LOWEST), rows["label"]).mean()

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        own = task.loss(outputs(net, batch["train"]), batch["train"][task.name])
        shared = of_graph(net, batch["triples"])
        return own + weight * shared, {"loss_images": own, "loss_triples": shared}

    def predict(net: Any, inputs: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
        return {task.name: outputs(net, inputs)}

    parts = {
        "entities": Part(partial(Table, graph.entities, 2 * rank, graphs.normal(start))),
        "relations": Part(partial(Table, graph.relations, 2 * rank, graphs.normal(start))),
        "projection": Part(partial(Projector, 2 * rank, hidden=(), norm=False)),
    }
    return Method(streams=("train", "triples"), steps=[(loss, None)], parts=parts, heads=False, predict=predict)
