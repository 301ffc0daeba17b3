"""What a knowledge graph says of classes: their ancestors, how far apart they are, what spreads from them."""

from __future__ import annotations

import collections
import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sparse

from tl.data.graph import Triple
from tl.errors import InputError, unknown

UP = ("_hypernym", "_instance_hypernym")  # WordNet's relations from what is narrower to what is wider
ROOT = ""  # above all that nothing stands above
RESTART = 0.02  # the share of a walk that stays with where it began, at each of so many steps
STEPS = 40

Parents = Mapping[str, set[str]]


def parents(triples: Sequence[Triple], source: str) -> dict[str, set[str]]:
    """{entity: those right above it}; InputError where the graph has no relation that leads upwards."""
    found: dict[str, set[str]] = {}
    for head, between, tail in triples:
        if between in UP:
            found.setdefault(head, set()).add(tail)
    if not found:
        held = sorted({between for _, between, _ in triples})
        raise InputError(
            f"'{source}' has no relation {' or '.join(UP)}, which a hierarchy is made of, but {', '.join(held[:5])}: "
            "name a graph such as WordNet's."
        )
    return found


def steps_up(above: Parents, entity: str) -> dict[str, int]:
    """{ancestor: the least number of steps to it}, the entity itself being 0 away."""
    found, reached = {entity: 0}, [entity]
    while reached:
        reached = sorted({wider for name in reached for wider in above.get(name, ()) if wider not in found})
        steps = max(found.values()) + 1
        found.update(dict.fromkeys(reached, steps))
    return found


def around(triples: Sequence[Triple], centres: Sequence[str], hops: int) -> list[Triple]:
    """The triples among the entities at most `hops` triples away from one of the `centres`, and their ancestors."""
    linked, above = collections.defaultdict(set), collections.defaultdict(set)
    for head, between, tail in triples:
        linked[head].add(tail)
        linked[tail].add(head)
        if between in UP:
            above[head].add(tail)
    kept = set(centres)
    for _ in range(hops):
        kept |= {other for name in kept for other in linked[name]}
    kept |= {wider for name in centres for wider in steps_up(above, name)}
    return [one for one in triples if one[0] in kept and one[2] in kept]


def check_entities(named: Mapping[str, str], triples: Sequence[Triple], source: str) -> None:
    """InputError where a class, of {class: entity}, is no entity of the graph."""
    known = {name for head, _, tail in triples for name in (head, tail)}
    for label, entity in named.items():
        if entity not in known:
            near = difflib.get_close_matches(entity, known) or sorted(known)[:5]
            raise unknown(f"entity of '{source}' for the class '{label}'", entity, near)


def apart(above: Parents, named: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """(C, C) heights of the lowest common ancestor, and (C, C) steps over one, of the classes {class: entity}.

    The height of an ancestor is the largest number of steps up to it from a class below: 0 on the diagonal. Where there
    are several common ones the least counts (Bertinetto et al. 2020, arXiv:1912.09393, section 2). Two classes without
    any meet in ROOT, right above all that nothing stands above: WN18RR lacks some of WordNet's own edges.
    """
    ups = []
    for entity in named.values():
        up = steps_up(above, entity)
        tops = [steps for name, steps in up.items() if not above.get(name)] or [max(up.values())]  # else a circle
        ups.append(up | {ROOT: 1 + min(tops)})
    height = collections.Counter()
    for up in ups:
        for name, steps in up.items():
            height[name] = max(height[name], steps)
    heights, paths = np.zeros((2, len(ups), len(ups)), np.int64)
    for i, one in enumerate(ups):
        for j, other in enumerate(ups[:i]):
            shared = (one.keys() & other.keys()) - {ROOT} or {ROOT}
            heights[i, j] = heights[j, i] = min(height[name] for name in shared)
            paths[i, j] = paths[j, i] = min(one[name] + other[name] for name in shared)
    return heights, paths


def diffused(triples: Sequence[Triple], chosen: Sequence[str], width: int) -> np.ndarray:
    """(N, at most `width`) features of the `chosen` entities: random walks with restart, over all relations, both ways.

    A walk's distribution, sum_k a (1 - a)^k A^k over the graph's normalised adjacency A (Klicpera et al. 2019,
    arXiv:1810.05997, equation 3) cut off behind STEPS, is made of length 1, and of all that are chosen the principal
    axes are kept, not centred. Nothing is learnt.
    """
    names = sorted({name for head, _, tail in triples for name in (head, tail)})
    number = {name: i for i, name in enumerate(names)}
    ends = np.array([(number[head], number[tail]) for head, _, tail in triples])
    one_way = sparse.coo_matrix((np.ones(len(ends), np.float32), tuple(ends.T)), (len(names), len(names)))
    linked = ((one_way + one_way.T) > 0).astype(np.float32).tocsr()
    scale = sparse.diags(1 / np.sqrt(np.asarray(linked.sum(axis=1)).ravel())).astype(np.float32)
    spread = (1 - RESTART) * (scale @ linked @ scale)
    start = np.zeros((len(names), len(chosen)), np.float32)
    start[[number[name] for name in chosen], np.arange(len(chosen))] = RESTART
    walks = start
    for _ in range(STEPS):
        walks = start + spread @ walks
    walks /= np.linalg.norm(walks, axis=0)
    sizes, axes = np.linalg.eigh((walks.T @ walks).astype(np.float64))
    kept = np.argsort(-sizes, kind="stable")[:width]
    found = axes[:, kept] * np.sqrt(np.maximum(sizes[kept], 0))
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    return (found * np.sign(largest)).astype(np.float32)  # an axis has no direction of its own
