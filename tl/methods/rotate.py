"""RotatE: a relation turns each complex number of the head (Sun et al. 2019, arXiv:1902.10197, equation 3).

    score(h, r, t) = -sum_i |h_i exp(i angle_i) - t_i|
    loss = CE(scores of all entities, t)

The paper compares with sampled wrong triples, weighed by their own scores (equations 5 and 6); here all entities are
the wrong ones, and the softmax over them is the weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tl import graphs, triples
from tl.methods.base import Method
from tl.tasks import Task


def make(tasks: Mapping[str, Task], *, rank: int = 500, margin: float = 6.0, relations: int) -> Method:
    """`rank` complex numbers an entity, from -(margin + 2) / rank to the same above 0 at the start, as in the paper's
    code, and as many angles a relation. The margin itself is a constant, which a softmax does not see."""
    return graphs.learning(
        "rotate",
        tasks,
        relations,
        widths=(2 * rank, rank),
        starts=(graphs.uniform((margin + 2) / max(1, rank)), graphs.uniform(math.pi)),
        scores=lambda heads, between, entities: -triples.complex_distances(triples.turned(heads, between), entities),
    )
