"""Features compared with each other: contrastive losses, correlations of views, nearest means."""

from __future__ import annotations

import jax
import jax.numpy as jnp

FARTHEST = 8.0  # above the squared distance of any two vectors of length 1: for classes without a mean


def unit(rows: jax.Array) -> jax.Array:
    """(..., D) rows of length 1; a row of nothing stays one."""
    square = jnp.sum(jnp.square(rows), axis=-1, keepdims=True)
    there = square > 0  # the root of nothing has no gradient
    return jnp.where(there, rows / jnp.sqrt(jnp.where(there, square, 1.0)), 0.0)


def to_means(rows: jax.Array, means: jax.Array) -> jax.Array:
    """(N, D) features, made of length 1, and (C, D) class means of it -> (N, C) minus their squared distances.

    A class without a mean, of zeros, is farther than all others.
    """
    apart = jnp.square(unit(rows)[:, None] - means[None]).sum(axis=-1)
    return -jnp.where((means != 0).any(axis=1)[None], apart, FARTHEST)


def nt_xent(first: jax.Array, second: jax.Array, temperature: float) -> jax.Array:
    """(2N,) cross-entropies of each of two views of N images and its other view, among all views of the others.

    Views (N, D) are compared by their cosine over `temperature` (Chen et al. 2020, SimCLR, eq. 1).
    """
    rows = unit(jnp.stack([first, second], axis=1).reshape(-1, first.shape[1]))  # the views of an image side by side
    own = jnp.eye(len(rows), dtype=bool)
    log_share = jax.nn.log_softmax(jnp.where(own, -jnp.inf, rows @ rows.T / temperature), axis=1)
    number = jnp.arange(len(rows))
    return -log_share[number, number ^ 1]


def cross_correlation(first: jax.Array, second: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """(N, D) twice -> (D, D) correlations over N between the columns of both; `epsilon` is added to variances."""

    def standardised(rows: jax.Array) -> jax.Array:
        apart = rows - rows.mean(axis=0, keepdims=True)
        return apart * jax.lax.rsqrt(jnp.square(apart).mean(axis=0, keepdims=True) + epsilon)

    return standardised(first).T @ standardised(second) / len(first)


def of_class(own: jax.Array, others: jax.Array, held: jax.Array, labels: jax.Array) -> jax.Array:
    """(N,) how unlike N anchors are to keys of their own class, compared with all keys.

    `own` (N,): logits of each anchor and its own key; `others` (N, C, K): of each anchor and K keys of C classes, of
    which those `held` (C, K) exist. Minus the mean, over the own key and those of class `labels` (N,), of the log of a
    softmax over all keys (Zhong et al. 2020, Bi-Tuning).
    """
    n, classes, _ = others.shape
    there = jnp.broadcast_to(held[None], others.shape)
    like = there & jax.nn.one_hot(labels, classes, dtype=bool)[:, :, None]
    exist = jnp.concatenate([jnp.ones((n, 1), bool), there.reshape(n, -1)], axis=1)
    alike = jnp.concatenate([jnp.ones((n, 1), bool), like.reshape(n, -1)], axis=1)
    logits = jnp.concatenate([own[:, None], others.reshape(n, -1)], axis=1)
    log_share = jax.nn.log_softmax(jnp.where(exist, logits, -jnp.inf), axis=1)
    return -jnp.where(alike, log_share, 0.0).sum(axis=1) / alike.sum(axis=1)


def enqueue(keys: jax.Array, count: jax.Array, new: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(C, K, D) keys, (C,) how many each class ever got, (N, D) new ones of class `labels` -> the first two after it.

    A new key takes the place of the oldest of its class; of more than K of a class the last K stay.
    """
    classes, places, _ = keys.shape
    belongs = jax.nn.one_hot(labels, classes, dtype=jnp.int32)
    rank = (jnp.cumsum(belongs, axis=0) * belongs).sum(axis=1) - 1  # among the new ones of its class
    many = belongs.sum(axis=0)
    stays = rank >= many[labels] - places
    place = jnp.where(stays, (count[labels] + rank) % places, places)  # one place too far: dropped
    return keys.at[labels, place].set(new, mode="drop"), count + many.astype(count.dtype)
