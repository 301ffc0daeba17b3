"""A classifier's rows as data: what is known of a class is its place in a knowledge graph, its label is its row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from tl.data import graph, hierarchy, splits
from tl.data.base import Dataset, Split
from tl.errors import InputError, unknown

WIDTH = 256  # of a node's features
FAR = 4  # ancestors, or descendants, of so many steps and more are one group (Kampffmeyer et al. 2019, K)
_SEEN = 7  # what the seed is used for, beside those in splits.py


def open_rows(
    source: str,
    rows: np.ndarray,
    names: Sequence[str],
    *,
    seen: int,
    unseen: Sequence[str] = (),
    seed: int = 0,
    val_fraction: float = 0.0,
) -> Dataset:
    """The classes of a classifier that are entities of the graph `source`; (C, D) `rows` and the C entities' `names`.

    `seen` of them, drawn by seed, are train and val, the others, always those in `unseen`, are test. A row is how the
    class stands to the M nodes, which are all classes and their ancestors: (FAR + 1, M) shares of its ancestors so many
    steps above, the class itself being 0 away, as one vector. Its label is the classifier's row made of length 1.
    `nodes` (FAR + 1, M, WIDTH) are means of `hierarchy.diffused` over a node's descendants so many steps below. The
    graph is whole, with all classes in it: of those that are not seen their row alone is unknown.
    """
    triples = graph.triples_of(source)
    above = hierarchy.parents(triples, source)
    known = {name for head, _, tail in triples for name in (head, tail)}
    held = [i for i, name in enumerate(names) if name in known]
    entities = [names[i] for i in held]
    train, test = cut(entities, seen, unseen, seed, source)
    ups = {name: hierarchy.steps_up(above, name) for name in entities}
    nodes = sorted({name for up in ups.values() for name in up})
    features = hierarchy.diffused(triples, nodes, WIDTH)
    ways = {name: hierarchy.steps_up(above, name) for name in nodes}
    near = shares([ways[name] for name in entities], nodes)
    below = shares(reversed_ways(ways), nodes)
    targets = rows[held] / np.linalg.norm(rows[held], axis=1, keepdims=True)
    flat = near.reshape(len(near), -1)
    digest = hashlib.sha256(targets.tobytes() + flat.tobytes() + features.tobytes()).hexdigest()
    about = {"in_memory": True, "width": flat.shape[1], "origin": digest}
    whole = Split(lambda i: flat[i], {"label": targets.astype(np.float32)}, entities, **about)
    parts = {"train": whole.take(train), "test": whole.take(test)}
    if val_fraction:
        cut_off = splits.stratified(np.zeros(len(train), int), val_fraction, np.random.default_rng([seed, 1]))
        parts |= {"train": whole.take(np.delete(train, cut_off)), "val": whole.take(train[cut_off])}
    means = np.einsum("mkn,nd->kmd", below, features)
    return Dataset(parts, (), digest, nodes=means.astype(np.float32))


def cut(
    entities: Sequence[str], seen: int, unseen: Sequence[str], seed: int, source: str
) -> tuple[np.ndarray, np.ndarray]:
    """Ascending positions of the seen and of the other classes; InputError where there are too few."""
    for name in unseen:
        if name not in entities:
            raise unknown("class in config.zero_shot.unseen", name, [*entities[:10], "..."])
    free = [i for i, name in enumerate(entities) if name not in unseen]
    if not 1 <= seen <= len(entities) - max(1, len(unseen)):
        raise InputError(
            f"config.zero_shot.seen={seen}, but {len(entities)} classes are entities of '{source}', of which "
            f"{max(1, len(unseen))} must stay unseen: set it to 1..{len(entities) - max(1, len(unseen))}."
        )
    train = np.sort(np.random.default_rng([seed, _SEEN]).permutation(free)[:seen])
    return train, splits.others(len(entities), train)


def reversed_ways(ways: Mapping[str, Mapping[str, int]]) -> list[dict[str, int]]:
    """{node: its ancestors and the steps to them} -> the same of its descendants, node by node."""
    found: dict[str, dict[str, int]] = {name: {} for name in ways}
    for name, up in ways.items():
        for ancestor, steps in up.items():
            found[ancestor][name] = steps
    return list(found.values())


def shares(ways: Sequence[Mapping[str, int]], nodes: Sequence[str]) -> np.ndarray:
    """(R, FAR + 1, M): of each of R rows, of those so many steps away, FAR and more together, equal shares."""
    number = {name: i for i, name in enumerate(nodes)}
    found = np.zeros((len(ways), FAR + 1, len(nodes)), np.float32)
    for row, way in enumerate(ways):
        for name, steps in way.items():
            found[row, min(steps, FAR), number[name]] = 1
    return found / np.maximum(found.sum(axis=2, keepdims=True), 1)
