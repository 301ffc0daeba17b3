"""Which parameters move, and how: (regex, settings) groups -> labels -> one `optax.partition` per part.

Transformations give a direction; the learning rate is applied here as a function of the training step, not of a
transformation's own count, so that parts which pause (alternating methods) stay on the common schedule.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tl.errors import InputError, unknown

FROZEN = "frozen"
OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad")
SETTINGS = ("lr", "weight_decay")
Groups = Sequence[tuple[str, Mapping[str, float] | None]]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """`labels`: path -> group; `factors`: path -> factor on the learning rate; paths as in `paths`."""

    labels: dict[str, str]
    factors: dict[str, float]
    schedule: Callable[[jax.Array], jax.Array]
    transforms: dict[str, optax.GradientTransformation]
    clip: float
    pinned: frozenset[str] = frozenset()  # paths of which a number that is 0 stays 0

    def moves(self, path: str) -> bool:
        return self.labels[path] != FROZEN

    def freeze(self, params: dict[str, Any]) -> dict[str, Any]:
        """The same tree, with no gradient through what is frozen: XLA then never computes it."""
        return map_paths(lambda path, x: x if self.moves(path) else jax.lax.stop_gradient(x), params)

    def init(self, params: dict[str, Any]) -> dict[str, Any]:
        """Optimiser state by part: a part that a step does not move keeps its state bit for bit."""
        return {part: self._transform(part, tree).init(tree) for part, tree in params.items()}

    def update(
        self,
        grads: dict[str, Any],
        opt: dict[str, Any],
        params: dict[str, Any],
        step: jax.Array,
        parts: Sequence[str] | None,
    ) -> tuple[dict[str, Any], dict[str, Any], jax.Array]:
        """One step of `parts` (None = all) -> (params, opt, norm of the gradient over what moves, before clipping)."""
        active = set(params if parts is None else parts)
        if strangers := active - set(params):
            raise unknown("part to move", min(strangers), params)
        moving = [
            g for path, g in paths({part: grads[part] for part in grads if part in active}).items() if self.moves(path)
        ]
        # Over all leaves the norm would bring the frozen gradients back to life.
        norm = optax.tree.norm(moving) if moving else jnp.zeros((), jnp.float32)
        if self.clip:
            scale = jnp.minimum(1.0, self.clip / jnp.maximum(norm, 1e-12))
            grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
        rate = self.schedule(step)
        new_params, new_opt = dict(params), dict(opt)
        for part in [p for p in params if p in active]:  # in one order: the program must be the same in every process
            direction, new_opt[part] = self._transform(part, params[part]).update(grads[part], opt[part], params[part])
            flat = paths({part: direction})

            def apply(path: str, p: jax.Array, flat: dict[str, jax.Array] = flat) -> jax.Array:
                # A frozen leaf is passed on untouched: even p + 0 would turn -0.0 into 0.0.
                if not self.moves(path):
                    return p
                moved = p - (rate * self.factors[path]).astype(p.dtype) * flat[path]
                return jnp.where(p == 0, p, moved) if path in self.pinned else moved

            new_params[part] = map_paths(apply, {part: params[part]})[part]
        return new_params, new_opt, norm

    def _transform(self, part: str, tree: Any) -> optax.GradientTransformation:
        labels = map_paths(lambda path, _: self.labels[path], {part: tree})[part]
        used = set(jax.tree.leaves(labels))
        return optax.partition({label: t for label, t in self.transforms.items() if label in used}, labels)


def make(
    params: dict[str, Any],
    groups: Groups,
    schedule: Callable[[jax.Array], jax.Array],
    *,
    name: str = "sgd",
    momentum: float = 0.9,
    nesterov: bool = False,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decay_norms_and_biases: bool = False,
    layer_decay: float = 1.0,
    clip: float = 0.0,
) -> Optimizer:
    """`params` may hold shapes only. Group settings: `lr`, a factor, and `weight_decay`, a value; None freezes.

    `layer_decay` d multiplies the rate of the layer at depth k of n by d^(n - k), the head being n (ULMFiT, Howard and
    Ruder 2018, 3.2; BEiT, Bao et al. 2022). adamw alone keeps the decay apart from the gradient.
    """
    if name not in OPTIMIZERS:
        raise unknown("optimiser", name, OPTIMIZERS)
    if clip < 0:
        raise InputError(f"optim.clip is {clip}: it must be a norm above 0, or 0 for no clipping.")
    all_paths = list(paths(params))
    chosen = assign_groups(all_paths, groups)
    depth = layer_depths(all_paths)
    factors, labels, transforms = {}, {}, {FROZEN: optax.set_to_zero()}
    for path in all_paths:
        settings = chosen[path]
        if settings is None:
            labels[path] = FROZEN
            continue
        decays = decay_norms_and_biases or path.rsplit("/", 1)[-1] in ("kernel", "embedding")
        decay = float(settings.get("weight_decay", weight_decay)) if decays else 0.0
        factors[path] = float(settings.get("lr", 1.0)) * layer_decay ** (max(depth.values()) - depth[path])
        labels[path] = f"decay {decay}"
        if labels[path] not in transforms:
            transforms[labels[path]] = _direction(name, decay, momentum, nesterov, b1, b2, eps)
    return Optimizer(labels, factors, schedule, transforms, clip)


def _direction(
    name: str, decay: float, momentum: float, nesterov: bool, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
    coupled = [optax.add_decayed_weights(decay)] if decay else []
    if name == "sgd":
        return optax.chain(*coupled, optax.trace(momentum, nesterov) if momentum else optax.identity())
    if name == "adagrad":  # Duchi et al. 2011; the sum of squares begins at 0, as in torch
        return optax.chain(*coupled, optax.scale_by_rss(0.0, eps * eps))
    adam = optax.scale_by_adam(b1, b2, eps)
    if name == "adam":
        return optax.chain(*coupled, adam)
    return optax.chain(adam, *coupled)


def assign_groups(all_paths: Sequence[str], groups: Groups) -> dict[str, Mapping[str, float] | None]:
    """Path -> settings of the first group whose regex matches from the path's start; every path and group is used."""
    compiled = [_read_group(group) for group in groups]
    chosen, used, uncovered = {}, set(), []
    for path in all_paths:
        index = next((i for i, (regex, _) in enumerate(compiled) if regex.match(path)), None)
        if index is None:
            uncovered.append(path)
        else:
            used.add(index)
            chosen[path] = compiled[index][1]
    if uncovered:
        raise InputError(
            f"config.groups leave {len(uncovered)} parameters without a group ({_some(uncovered)}): "
            "add ('.*', {}) to train the rest or ('.*', None) to freeze it."
        )
    unused = [groups[i][0] for i in range(len(groups)) if i not in used]
    if unused:
        raise InputError(
            f"config.groups: no parameter is left for {', '.join(map(repr, unused))}, out of {_some(all_paths)}: "
            "correct the expression or its place (the first match wins)."
        )
    return chosen


def _read_group(group: Any) -> tuple[re.Pattern[str], Mapping[str, float] | None]:
    """A pair as a user wrote it, checked."""
    pair = isinstance(group, list | tuple) and len(group) == 2
    if not pair or not isinstance(group[0], str) or not isinstance(group[1], Mapping | None):
        raise InputError(f"config.groups: {group!r} is no pair (regex, settings or None): e.g. ('head.*', {{}}).")
    regex, settings = group
    for setting, value in (settings or {}).items():
        if setting not in SETTINGS:
            raise unknown(f"setting of the group '{regex}'", setting, SETTINGS)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise InputError(f"config.groups: {setting} of '{regex}' is {value!r}: it must be a number, 0 or more.")
    try:
        return re.compile(regex), settings
    except re.error as error:
        raise InputError(f"config.groups: '{regex}' is no regular expression ({error}).") from error


def layer_depths(all_paths: Sequence[str]) -> dict[str, int]:
    """Path -> depth: the backbone's blocks in order (stem 0, stage1/block1 1, ..., final norm, fc1), all else last."""

    def unit(path: str) -> tuple[int | str, ...]:
        part, *rest = path.split("/")
        if part != "backbone":
            return (2,)
        keep = rest[:2] if len(rest) > 2 and rest[1].startswith("block") else rest[:1]
        numbers = tuple(int(n) for name in keep for n in re.findall(r"\d+", name))
        return (0, *numbers) if rest[0].startswith(("stem", "stage", "embedding", "layer")) else (1, rest[0])

    ordered = sorted({unit(path) for path in all_paths})
    return {path: ordered.index(unit(path)) for path in all_paths}


def make_schedule(
    name: str,
    lr: float,
    steps: int,
    *,
    warmup: int = 0,
    boundaries: Sequence[float] = (),
    factor: float = 0.1,
    gamma: float = 1e-3,
    power: float = 0.75,
) -> Callable[[jax.Array], jax.Array]:
    """Learning rate by step. `warmup`: steps of linear rise; `boundaries`: shares of `steps` (0..1), for `step`.

    `inverse` is lr (1 + gamma t)^-power, by iteration, the decay of domain adaptation (Ganin et al. 2016, 5.2.2).
    """
    span = max(1, steps - warmup)

    def shape(t: jax.Array) -> Any:
        after = jnp.maximum(t - warmup, 0.0)
        if name == "cosine":
            return 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(after / span, 1.0)))
        if name == "linear":
            return jnp.maximum(1.0 - after / span, 0.0)
        if name == "step":
            return factor ** sum((t >= jnp.floor(b * steps)).astype(t.dtype) for b in boundaries)
        if name == "inverse":
            return (1 + gamma * after) ** -power
        return jnp.ones_like(t)

    known = ("constant", "cosine", "linear", "step", "inverse")
    if name not in known:
        raise unknown("schedule", name, known)
    if name == "step" and not (boundaries and all(0 <= b <= 1 for b in boundaries)):
        raise InputError(
            f"schedule.boundaries is {tuple(boundaries)}: 'step' needs shares of the run in 0..1, such as (0.5, 0.75)."
        )

    def schedule(step: jax.Array) -> jax.Array:
        t = jnp.asarray(step, jnp.float32)
        rise = jnp.minimum((t + 1) / warmup, 1.0) if warmup else 1.0
        return jnp.asarray(lr * rise * shape(t), jnp.float32)

    return schedule


def kernels(params: Mapping[str, Any], name: str, layers: str) -> dict[str, Any]:
    """{layer: kernel} of the layers that the regex `layers`, the setting `name`, is about; InputError for none."""
    found = {
        path.removesuffix("/kernel"): leaf
        for path, leaf in paths(params).items()
        if path.endswith("/kernel") and re.match(layers, path.removesuffix("/kernel"))
    }
    if not found:
        raise InputError(f"{name}='{layers}' matches no layer with a kernel: name e.g. 'backbone/stage.*'.")
    return found


def paths(tree: Any) -> dict[str, Any]:
    """Nested dicts -> {"backbone/stage1/...": leaf}, in the order of the tree."""
    return {"/".join(str(k.key) for k in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def map_paths(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """`jax.tree.map` with the leaf's path as the first argument."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function("/".join(str(k.key) for k in path), leaf), tree)


def _some(names: Sequence[str], count: int = 4) -> str:
    return ", ".join(names[:count]) + (f", ... {len(names) - count} more" if len(names) > count else "")


def nested_of(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a/b/c": leaf} as dicts in dicts, with "params" and "stats" whatever there is."""
    return {"params": {}, "stats": {}} | nested(flat)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a/b/c": leaf} as dicts in dicts: the inverse of `paths`."""
    found: dict[str, Any] = {}
    for path, leaf in flat.items():
        *names, last = path.split("/")
        node = found
        for name in names:
            node = node.setdefault(name, {})
        node[last] = leaf
    return found
