"""MixStyle (Zhou et al. 2021, arXiv:2104.02008, eq. 4 to 6): maps take on the statistics of other images' maps.

map' = s' (map - m) / s + m',  m' = b m_i + (1 - b) m_j,  s' = b s_i + (1 - b) s_j,  b ~ Beta(alpha, alpha)
m, s: mean and deviation of each channel over an image i, stopped; j: another image.  loss = CE(z, y)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from tl import mixing
from tl.batches import Batch
from tl.errors import InputError
from tl.methods.base import Method, the_classification
from tl.tasks import Task


def make(
    tasks: Mapping[str, Task],
    *,
    maps: tuple[str, ...] = ("stage1", "stage2"),
    alpha: float = 0.1,
    probability: float = 0.5,
) -> Method:
    """`maps` of the backbone behind which styles are mixed, in a batch with `probability`, by shares of Beta(alpha)."""
    task = the_classification(tasks, "mixstyle")

    def loss(net: Any, batch: Batch, memory: Any, key: jax.Array, progress: jax.Array):
        rows, met = batch["train"], []

        def change(name: str, x: jax.Array) -> jax.Array:
            if name not in maps:
                return x
            met.append(name)
            return mixing.styles(jax.random.fold_in(key, len(met)), x, alpha, probability)  # each map by itself

        logits = net.outputs(rows, change=change)[task.name]
        if missing := [name for name in maps if name not in met]:
            raise InputError(
                f"mixstyle is to mix behind '{missing[0]}', which the network does not compute (maps are "
                f"{', '.join(net.modules['backbone'].feature_maps)}; frozen ones may be cached): set method_args.maps."
            )
        return task.loss(logits, rows[task.name]), {}

    return Method(streams=("train",), steps=[(loss, None)])
