"""What every method must hold, by toy.METHODS: the loss falls, devices agree, resuming is exact, frozen is frozen."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import toy
from PIL import features

from tl import optim
from tl.checkpoint import Checkpoints


@pytest.mark.parametrize("name", toy.METHODS)
def test_a_method(name, tmp_path):
    """In float64, on eight devices: 20 steps, the last 16 of them again from a checkpoint; the first 10 on one.

    The very first gives the scalars that are kept in tests/golden/steps.json.
    """
    with jax.enable_x64(True):
        work, one = toy.steps_of(name), toy.steps_of(name, devices=1)
        start = work.host()
        falls = toy.METHODS[name].get("falls", "loss")
        losses = [row[falls] for row in work.run(4) if falls]
        kept = Checkpoints(tmp_path / "checkpoints")
        kept.save(4, work.state)
        kept.wait()
        work.run(6)
        tenth = work.host()
        losses += [row[falls] for row in work.run(10) if falls]
        end = work.host()

        work.state = kept.restore(work.state, 4)
        work.run(16)
        kept.close()
        toy.same_leaves(end, work.host())

        first = one.run(10)[0]
        toy.same_leaves(one.host(), tenth, 1e-9)
    if toy.GOLDEN_STEPS["freetype"] == features.version("freetype2"):  # which draws the targets' images
        assert first == pytest.approx(toy.GOLDEN_STEPS["steps"][name], rel=1e-6)

    assert not falls or np.mean(losses[-4:]) < np.mean(losses[:4])
    for path, before in optim.paths(start.params).items():
        after = optim.paths(end.params)[path]
        assert (before.tobytes() == after.tobytes()) != work.optimizer.moves(path), path
