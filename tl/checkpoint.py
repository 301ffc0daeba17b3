"""Checkpoints: the whole state, asynchronously, the latest and the best kept apart. The only importer of orbax."""

from __future__ import annotations

import logging
import math
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

logging.getLogger("absl").setLevel(logging.WARNING)  # orbax announces every file it touches


class Checkpoints:
    """`folder/STEP/` per kept step. A save cut short by a kill counts as none: a folder is renamed when whole."""

    def __init__(self, folder: pathlib.Path) -> None:
        # `max_to_keep` with `best_fn` would delete the latest where it is worse than the best.
        keep = policies.AnyPreservationPolicy(
            [
                policies.LatestN(1),
                policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep, best_fn=_score, enable_async_checkpointing=True, create=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        # The loop asks jax where all processes stop. orbax would ask too, from a thread and with numbers of its own,
        # and so move the place that they agree on.
        vars(self._manager)["reached_preemption"] = lambda step: False

    @property
    def latest(self) -> int | None:
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The kept step with the highest score, None where no save had one."""
        step = self._manager.best_step()
        return step if step is not None and math.isfinite(_score(self._manager.metrics(step))) else None

    def save(self, step: int, state: Any, score: float | None = None) -> None:
        """Save in the background. `score` (higher is better) makes the step a candidate for `best`."""
        if step not in self._manager.all_steps():
            metrics = {"score": -math.inf if score is None else score}
            self._manager.save(step, args=ocp.args.StandardSave(_as_dict(state)), metrics=metrics, force=True)

    def restore(self, like: Any, step: int) -> Any:
        """The state of `step`, on the shardings that `like` has now: a checkpoint of eight devices opens on one."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _as_dict(like))
        return type(like)(**self._manager.restore(step, args=ocp.args.StandardRestore(abstract)))

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _score(metrics: dict[str, float] | None) -> float:
    return (metrics or {}).get("score", -math.inf)


def _as_dict(state: Any) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__dataclass_fields__}
