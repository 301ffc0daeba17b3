"""Scores of triples (head, relation, tail) by their embeddings, a penalty on these, and the filtered rank.

A complex vector of d numbers is a real one of 2 d: all real parts, then all imaginary ones.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def times(a: jax.Array, b: jax.Array) -> jax.Array:
    """(N, 2 d) and (N, 2 d) complex vectors -> (N, 2 d) their products, number by number."""
    (a_real, a_imaginary), (b_real, b_imaginary) = jnp.split(a, 2, axis=1), jnp.split(b, 2, axis=1)
    return jnp.concatenate(
        [a_real * b_real - a_imaginary * b_imaginary, a_real * b_imaginary + a_imaginary * b_real], axis=1
    )


def turned(a: jax.Array, angles: jax.Array) -> jax.Array:
    """(N, 2 d) complex vectors, number by number turned by (N, d) angles."""
    return times(a, jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1))


def products(queries: jax.Array, table: jax.Array) -> jax.Array:
    """(N, D) and (E, D) -> (N, E) inner products; of complex vectors the real parts of <query, conjugate of the row>.

    In full precision on every chip: ranks compare scores, and rounded ones would tie.
    """
    return jnp.matmul(queries, table.T, precision=jax.lax.Precision.HIGHEST)


def distances(queries: jax.Array, table: jax.Array, norm: int) -> jax.Array:
    """(N, D) and (E, D) -> (N, E) distances by the norm 1 or 2."""
    if norm == 1:
        return _summed(lambda x: jnp.abs(x[0]), queries[None], table[None])
    lengths = jnp.square(queries).sum(axis=1)[:, None] + jnp.square(table).sum(axis=1)[None, :]
    return _root(jnp.maximum(lengths - 2 * products(queries, table), 0))


def complex_distances(queries: jax.Array, table: jax.Array) -> jax.Array:
    """(N, 2 d) and (E, 2 d) complex vectors -> (N, E) sums of the moduli of their d differences."""
    both = (jnp.stack(jnp.split(x, 2, axis=1)) for x in (queries, table))
    return _summed(lambda x: _root(jnp.square(x[0]) + jnp.square(x[1])), *both)


def moduli(x: jax.Array) -> jax.Array:
    """(..., 2 d) complex vectors -> (..., d)."""
    real, imaginary = jnp.split(x, 2, axis=-1)
    return _root(jnp.square(real) + jnp.square(imaginary))


def cubes(*vectors: jax.Array) -> jax.Array:
    """(N, d) arrays of numbers -> (N,) sums of their cubed absolute values: the nuclear 3-norm of a batch's triples.

    Lacroix et al. 2018, arXiv:1806.07297, equation 4; of complex vectors pass the `moduli`.
    """
    return jnp.stack([(jnp.abs(x) ** 3).sum(axis=1) for x in vectors]).sum(axis=0)


def filtered_ranks(scores: jax.Array, answers: jax.Array, known: jax.Array) -> jax.Array:
    """(N, E) scores, (N,) answers and (N, K) other known ones, -1 for none -> (N,) places of the answers, from 1.

    Other known answers are left out (Bordes et al. 2013, section 4.2). Of entities with the answer's own score half
    are ahead of it. NaN where a score is not finite: a diverged network must not come first.
    """
    own = jnp.take_along_axis(scores, answers[:, None], axis=1)
    others = jnp.where(known >= 0, jnp.take_along_axis(scores, jnp.maximum(known, 0), axis=1), -jnp.inf)
    ahead = (scores > own).sum(axis=1) - (others > own).sum(axis=1)
    level = (scores == own).sum(axis=1) - 1 - (others == own).sum(axis=1)
    return jnp.where(jnp.isfinite(scores).all(axis=1), 1 + ahead + level / 2, jnp.nan)


def _root(x: jax.Array) -> jax.Array:
    """Square root, whose slope at 0 is no infinity."""
    return jnp.sqrt(x + 1e-24)


def _summed(size: Callable[[jax.Array], jax.Array], queries: jax.Array, table: jax.Array) -> jax.Array:
    """(K, N, D) and (K, E, D) -> (N, E) sums over D of `size` of the (K, N, E) differences.

    One of the D after the other, and again in the backward pass: all at once they would fill any memory.
    """
    one = jax.checkpoint(lambda q, t: size(q[:, :, None] - t[:, None, :]))
    steps = jnp.moveaxis(queries, 2, 0), jnp.moveaxis(table, 2, 0)
    start = jnp.zeros((queries.shape[1], table.shape[1]), queries.dtype)
    return jax.lax.scan(lambda total, pair: (total + one(*pair), None), start, steps)[0]
