"""TransE: a relation is a step from head to tail (Bordes et al. 2013, NIPS, equation 1).

    score(h, r, t) = -|h + r - t|    by the norm 1 or 2
    loss = CE(scores of all entities, t) + n3 mean sum_i (|h_i|^3 + |r_i|^3 + |t_i|^3)

The paper keeps entities at length 1 and compares with one wrong triple by a margin; here lengths are free, since the
cross-entropy over all entities needs them, as in Ruffinelli et al. 2020.
"""

from __future__ import annotations

from collections.abc import Mapping

from tl import graphs, triples
from tl.errors import InputError
from tl.methods.base import Method
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, rank: int = 50, norm: int = 1, n3: float = 0.0, relations: int) -> Method:
    """`rank` numbers an embedding, from -6 / sqrt(rank) to 6 / sqrt(rank) at the start; `norm` 1 or 2."""
    if norm not in (1, 2):
        raise InputError(f"method_args.norm={norm} must be 1 or 2.")
    start = graphs.uniform(6 / max(1, rank) ** 0.5)
    return graphs.learning(
        "transe",
        tasks,
        relations,
        widths=(rank, rank),
        starts=(start, start),
        scores=lambda heads, between, entities: -triples.distances(heads + between, entities, norm),
        n3=n3,
    )
