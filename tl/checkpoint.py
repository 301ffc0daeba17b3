"""Checkpoints: the whole state, asynchronously, the latest and those that may be chosen. The only importer of orbax."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp

logging.getLogger("absl").setLevel(logging.WARNING)  # orbax announces every file it touches


class Wanted:
    """Keeps the latest checkpoint and those of `steps`."""

    def __init__(self) -> None:
        self.steps: set[int] = set()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        latest = max(held.step for held in checkpoints)
        return [held.step in self.steps or held.step == latest for held in checkpoints]


class Checkpoints:
    """`folder/STEP/` per kept step. A save cut short by a kill counts as none: a folder is renamed when whole."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._wanted = Wanted()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._wanted, enable_async_checkpointing=True, create=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        # The loop asks jax where all processes stop. orbax would ask too, from a thread and with numbers of its own,
        # and so move the place that they agree on.
        vars(self._manager)["reached_preemption"] = lambda step: False

    @property
    def latest(self) -> int | None:
        return self._manager.latest_step()

    @property
    def steps(self) -> set[int]:
        """Those that are kept."""
        return set(self._manager.all_steps())

    def save(self, step: int, state: Any, keep: Collection[int] = ()) -> None:
        """Save in the background. Of the earlier steps those of `keep` stay."""
        self._wanted.steps = set(keep)
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(_as_dict(state)), force=True)

    def restore(self, like: Any, step: int) -> Any:
        """The state of `step`, on the shardings that `like` has now: a checkpoint of eight devices opens on one."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _as_dict(like))
        return type(like)(**self._manager.restore(step, args=ocp.args.StandardRestore(abstract)))

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _as_dict(state: Any) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__dataclass_fields__}
