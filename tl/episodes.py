"""Episodes (Vinyals et al. 2016, arXiv:1606.04080): some images of some classes to learn from, others to be told apart.

An episode of `way` classes is way * (shot + query) rows, class after class, the shots of a class before its queries. So
the place of a row says what it is, and no label is needed. Pure functions of arrays.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Shape:
    """`shot` labelled images of each of `way` classes, and `query` more to be told apart.

    With `uneven`, so many of each class, the rows of a class's shots behind these are nothing.
    """

    way: int
    shot: int
    query: int
    uneven: tuple[int, ...] = ()

    @property
    def shots(self) -> tuple[int, ...]:
        """How many of each class."""
        return self.uneven or (self.shot,) * self.way

    @property
    def rows(self) -> int:
        return self.way * (self.shot + self.query)


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Their shape in training, None where training sees no episodes, and in evaluation."""

    train: Shape | None
    test: Shape


def parted(rows: jax.Array, shape: Shape) -> tuple[jax.Array, jax.Array]:
    """(E * rows, ...) -> support (E, way, shot, ...) and query (E, way * query, ...)."""
    apart = rows.reshape(-1, shape.way, shape.shot + shape.query, *rows.shape[1:])
    query = apart[:, :, shape.shot :]
    return apart[:, :, : shape.shot], query.reshape(len(apart), shape.way * shape.query, *rows.shape[1:])


def in_line(support: jax.Array, shape: Shape) -> jax.Array:
    """(E, way, shot, ...) -> (E, S, ...) of all the shots there are, class after class."""
    places = [i * shape.shot + shot for i, count in enumerate(shape.shots) for shot in range(count)]
    rows = support.reshape(len(support), -1, *support.shape[3:])
    return rows[:, jnp.array(places)] if shape.uneven else rows


def means(support: jax.Array, shape: Shape) -> jax.Array:
    """(E, way, shot, D) -> (E, way, D), of each class's own shots."""
    if not shape.uneven:
        return support.mean(axis=2)
    counts = jnp.array(shape.uneven)
    there = jnp.arange(shape.shot)[None] < counts[:, None]
    total = jnp.where(there[None, :, :, None], support, 0).sum(axis=2)
    return total / counts[None, :, None].astype(support.dtype)


def labels(shape: Shape, count: int = 1) -> jax.Array:
    """(count * way * query,) classes of the queries of `count` episodes."""
    return jnp.tile(jnp.repeat(jnp.arange(shape.way), shape.query), count)


def labels_of_shots(shape: Shape) -> jax.Array:
    """(S,) classes of the shots of an episode, as `in_line` has them."""
    return jnp.repeat(jnp.arange(shape.way), jnp.array(shape.shots), total_repeat_length=sum(shape.shots))


def in_place(outputs: jax.Array, shape: Shape) -> jax.Array:
    """(E, way * query, way) outputs of the queries -> (E * rows, way), nothing in the rows of the shots."""
    apart = outputs.reshape(-1, shape.way, shape.query, shape.way)
    return jnp.pad(apart, ((0, 0), (0, 0), (shape.shot, 0), (0, 0))).reshape(-1, shape.way)


def squared_distance(left: jax.Array, right: jax.Array) -> jax.Array:
    """(E, Q, D) and (E, P, D) -> (E, Q, P); by differences, since sums of squares would lose what is near."""
    return jnp.square(left[:, :, None] - right[:, None]).sum(axis=-1)
