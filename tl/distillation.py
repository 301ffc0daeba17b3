"""What a student learns of a teacher beside its answers (see losses.py): pure functions of maps and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tl.contrast import unit
from tl.errors import InputError, unknown


def attention(maps: jax.Array) -> jax.Array:
    """(N, H, W, C) -> (N, H W) of norm 1: the mean square over channels (Zagoruyko and Komodakis 2017, 3.1)."""
    seen = jnp.mean(jnp.square(maps), axis=-1).reshape(maps.shape[0], -1)
    return seen / jnp.maximum(jnp.linalg.norm(seen, axis=1, keepdims=True), 1e-12)


def attention_distance(student: jax.Array, teacher: jax.Array, names: tuple[str, str]) -> jax.Array:
    """The mean over images and positions of squared differences of attention; `names` are for the error."""
    same_places(student, teacher, names)
    return jnp.mean(jnp.square(attention(student) - attention(teacher)))


def hint_distance(student: jax.Array, teacher: jax.Array, names: tuple[str, str]) -> jax.Array:
    """Half the mean square difference of equal maps (Romero et al. 2015, FitNets, eq. 3, a mean in place of a sum)."""
    same_places(student, teacher, names)
    return 0.5 * jnp.mean(jnp.square(student - teacher))


def same_places(student: jax.Array, teacher: jax.Array, names: tuple[str, str]) -> None:
    """InputError for maps of unequal size, and for what is no map."""
    for x, name, whose in ((student, names[0], "student"), (teacher, names[1], "teacher")):
        if x.ndim < 3:
            raise InputError(f"the {whose}'s '{name}' has no places to be compared: name a map, such as stage2.")
    if student.shape[1:-1] != teacher.shape[1:-1]:
        sizes = [" x ".join(map(str, x.shape[1:-1])) for x in (student, teacher)]
        raise InputError(
            f"the student's map '{names[0]}' is {sizes[0]} and the teacher's '{names[1]}' {sizes[1]}: name maps of one "
            "size in method_args."
        )


def pair_distances(features: jax.Array) -> jax.Array:
    """(N, D) -> (N, N) distances over their mean between unlike rows (Park et al. 2019, RKD, 3.2.1)."""
    square = jnp.sum(jnp.square(features[:, None] - features[None, :]), axis=-1)
    apart = square > 0
    # The root of nothing has no gradient.
    distance = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
    return distance / jnp.maximum(distance.sum() / jnp.maximum(apart.sum(), 1), 1e-12)


def angles(features: jax.Array) -> jax.Array:
    """(N, D) -> (N, N, N) cosines of the angle at j between i and k (Park et al. 2019, RKD, 3.2.2)."""
    towards = features[None, :] - features[:, None]  # [j, i]: from j to i
    return jnp.einsum("jid,jkd->jik", unit(towards), unit(towards))


def huber(difference: jax.Array) -> jax.Array:
    """Half the square up to 1, then linear (Huber 1964)."""
    size = jnp.abs(difference)
    return jnp.where(size <= 1, 0.5 * jnp.square(difference), size - 0.5)


def relational(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(N, D) and (N, E) features -> the mean Huber losses of distances and of angles (Park et al. 2019)."""
    distance = huber(pair_distances(student) - pair_distances(teacher)).mean()
    return distance, huber(angles(student) - angles(teacher)).mean()


def pairs_of(
    here: Mapping[str, Any], there: Mapping[str, Any], maps: Sequence[str], others: Sequence[str]
) -> list[tuple[str, str]]:
    """Names of the student's and the teacher's maps side by side; without any, the stages of both in turn."""
    stages = [[name for name in found if name.startswith("stage")] for found in (here, there)]
    own, other = list(maps) or stages[0], list(others) or list(maps) or stages[1]
    for chosen, found in ((own, here), (other, there)):
        for name in chosen:
            if name not in found:
                raise unknown("map in method_args", name, list(found))
    if not own or not other:
        raise InputError(
            f"the {'student' if not own else 'teacher'} has no maps called stage1, stage2, ...: name those to compare, "
            "and the teacher's, in method_args."
        )
    if len(own) != len(other):
        raise InputError(
            f"{len(own)} maps of the student ({', '.join(own)}) and {len(other)} of the teacher ({', '.join(other)}) "
            "cannot be matched in turn: name as many of each in method_args."
        )
    return list(zip(own, other, strict=True))
