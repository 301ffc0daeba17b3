"""What every method must hold, by toy.METHODS: the loss falls, devices agree, resuming is exact, frozen is frozen."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import toy
from PIL import features

from tl import finish, optim
from tl.checkpoint import Checkpoints


@pytest.mark.parametrize("name", toy.ONCE)
def test_a_method(name, tmp_path):
    """In float64, on eight devices: 20 steps, the last 16 of them again from a checkpoint.

    What they leave can be exported. The first and the tenth give the scalars that one device gave, which are kept in
    tests/golden/steps.json: some terms begin at nothing. toy.WIDE take ten steps on one device as well.
    """
    with jax.enable_x64(True):
        work = toy.steps_of(name)
        start = work.host()
        falls = toy.METHODS[name].get("falls", "loss")
        taken = work.run(4)
        kept = Checkpoints(tmp_path / "checkpoints")
        kept.save(4, work.state)
        kept.wait()
        taken += work.run(6)
        tenth = work.host()
        taken += work.run(10)
        end = work.host()

        work.state = kept.restore(work.state, 4)
        work.run(16)
        kept.close()
        toy.same_leaves(end, work.host())

        if name in toy.WIDE:
            one = toy.steps_of(name, devices=1)
            toy.same_scalars(one.run(10), taken[:10])
            toy.same_leaves(one.host(), tenth, 1e-9)
    losses = [row[falls] for row in taken if falls]
    left = optim.paths(finish.exported(end.variables, work.experiment))
    assert all(np.isfinite(leaf).all() for leaf in left.values())
    assert not falls or np.mean(losses[-4:]) < np.mean(losses[:4])
    for path, before in optim.paths(start.params).items():
        after = optim.paths(end.params)[path]
        assert (before.tobytes() == after.tobytes()) != work.optimizer.moves(path), path
    if toy.GOLDEN_STEPS["freetype"] != features.version("freetype2"):
        pytest.skip("all but the golden steps: this freetype draws the targets' images otherwise")
    for step, golden in zip((taken[0], taken[9]), toy.GOLDEN_STEPS["steps"][name], strict=True):
        assert step == pytest.approx(golden, rel=1e-6)
