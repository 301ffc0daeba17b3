"""ComplEx: DistMult over complex numbers (Trouillon et al. 2016, arXiv:1606.06357, equation 9), with the penalty N3.

    score(h, r, t) = Re(sum_i h_i r_i conjugate(t_i))
    loss = CE(scores of all entities, t) + n3 mean sum_i (|h_i|^3 + |r_i|^3 + |t_i|^3)

N3 and its weight: Lacroix et al. 2018, arXiv:1806.07297, equation 4.
"""

from __future__ import annotations

from collections.abc import Mapping

from tl import graphs, triples
from tl.methods.base import Method
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, rank: int = 200, n3: float = 0.1, start: float = 0.01, relations: int) -> Method:
    """`rank` complex numbers an embedding; `n3` weighs the cubes of their moduli; `start`: deviation at the start."""
    return graphs.learning(
        "complex",
        tasks,
        relations,
        widths=(2 * rank, 2 * rank),
        starts=(graphs.normal(start), graphs.normal(start)),
        scores=lambda heads, between, entities: triples.products(triples.times(heads, between), entities),
        n3=n3,
        sizes=triples.moduli,
    )
