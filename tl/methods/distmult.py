"""DistMult: a relation weighs the products of both entities' numbers (Yang et al. 2015, arXiv:1412.6575, section 3.1).

    score(h, r, t) = sum_i h_i r_i t_i
    loss = CE(scores of all entities, t) + n3 mean sum_i (|h_i|^3 + |r_i|^3 + |t_i|^3)

Alone it would be the same in both directions; here each has a relation of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from tl import graphs, triples
from tl.methods.base import Method
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, rank: int = 100, n3: float = 0.0, start: float = 0.01, relations: int) -> Method:
    """`rank` numbers an embedding; `n3` weighs their cubes; `start` is the deviation at the start."""
    return graphs.learning(
        "distmult",
        tasks,
        relations,
        widths=(rank, rank),
        starts=(graphs.normal(start), graphs.normal(start)),
        scores=lambda heads, between, entities: triples.products(heads * between, entities),
        n3=n3,
    )
