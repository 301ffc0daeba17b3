"""Rows of several streams as one batch, and apart again, whichever devices hold them: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Batch = Mapping[str, Mapping[str, jax.Array]]  # {stream: {field: array}}


def interleave(*arrays: jax.Array) -> jax.Array:
    """A row of each array in turn. One array behind the other would move rows between the devices that hold them."""
    return jnp.stack(arrays, axis=1).reshape(-1, *arrays[0].shape[1:])


def parted(rows: jax.Array, count: int) -> tuple[jax.Array, ...]:
    """The `count` arrays that `interleave` made `rows` of."""
    apart = rows.reshape(-1, count, *rows.shape[1:])
    return tuple(apart[:, i] for i in range(count))


def join(*batches: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The rows of all in turn (`interleave`), with the fields that every one of them has; `parted` undoes it."""
    shared = [field for field in batches[0] if all(field in other for other in batches[1:])]
    return {field: interleave(*(batch[field] for batch in batches)) for field in shared}


def domain_of(batch: Batch, domains: int, streams: Sequence[str]) -> jax.Array:
    """(N,) the domain of each row of the joined `streams`: labelled ones from 0, the target is number `domains`."""
    numbers = []
    for stream in streams:
        rows = batch[stream]["index"].shape[0]
        start = domains if stream.startswith("target") else 0
        numbers.append(batch[stream].get("domain", jnp.full(rows, start, jnp.int32)))
    return interleave(*numbers)


def by_domain(rows: Mapping[str, jax.Array], domains: int) -> jax.Array:
    """(K, N) of 0 and 1: which rows of a labelled batch belong to each of K domains."""
    n = rows["index"].shape[0]
    domain = rows.get("domain", jnp.zeros(n, jnp.int32))
    return (domain[None, :] == jnp.arange(domains)[:, None]).astype(jnp.float32)


def last(carries: Any) -> Any:
    """What the last piece of a batch carries."""
    return jax.tree.map(lambda leaf: leaf[-1], carries)


def joined(carries: Any) -> Any:
    """The rows that all pieces of a batch carry."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), carries)
