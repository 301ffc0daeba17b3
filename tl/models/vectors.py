"""No network: data that are vectors already, such as features which another program stored."""

from __future__ import annotations

import flax.linen as nn
import jax

from tl.models import names as table
from tl.models.layers import Maps, Mode, run
from tl.models.ops import wide
from tl.preprocess import Preprocess

VARIANTS = {"vectors": {}}
PREPROCESS = {"vectors": Preprocess()}


class Backbone(nn.Module):
    """(N, D) -> the map "pooled" (N, D), as it is."""

    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        return ("pooled",)

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        return run([], x, mode, start, lambda x: x.astype(wide(self.dtype)))


def names(**_: object) -> list[table.Row]:
    """There are no weights."""
    return []
