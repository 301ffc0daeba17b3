"""What every method must hold, by toy.METHODS: the loss falls, devices agree, resuming is exact, frozen is frozen."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import toy

from tl import optim
from tl.checkpoint import Checkpoints


def steps(name: str, devices: int = 8, **changes: object) -> toy.Steps:
    return toy.Steps(toy.toy_config(f"configs/{name}.py", **{**toy.METHODS[name], **changes}), devices)


@pytest.mark.parametrize("name", toy.METHODS)
def test_loss_falls_and_resuming_is_exact_and_frozen_is_frozen(name, tmp_path):
    work = steps(name, schedule__lr=1e-2, schedule__warmup=0)
    start = work.host()
    losses = [row["loss"] for row in work.run(4)]
    kept = Checkpoints(tmp_path / "checkpoints")
    kept.save(4, work.state)
    kept.wait()
    losses += [row["loss"] for row in work.run(16)]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    end = work.host()

    work.state = kept.restore(work.state, 4)
    work.run(16)
    kept.close()
    toy.same_leaves(end, work.host())

    for path, before in optim.paths(start.params).items():
        after = optim.paths(end.params)[path]
        assert (before.tobytes() == after.tobytes()) != work.optimizer.moves(path), path


@pytest.mark.parametrize("name", toy.METHODS)
def test_one_device_equals_eight_in_float64(name):
    with jax.enable_x64(True):
        one, eight = (steps(name, devices, dtype="float64") for devices in (1, 8))
        one.run(10)
        eight.run(10)
        toy.same_leaves(one.host(), eight.host(), 1e-9)
