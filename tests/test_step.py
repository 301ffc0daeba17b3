"""The step: frozen is frozen, pieces add up, averages average, devices agree from the first step on."""

from __future__ import annotations

import jax
import numpy as np
import toy

from tl import optim
from tl.data import streams


def test_first_step_agrees_in_float32():
    config = toy.toy_config(head__hidden=(6,), head__dropout=0.5, method_args={"mixup": 0.4}, optim__name="adamw")
    (one,), (eight,) = (toy.Steps(config, devices).run(1) for devices in (1, 8))
    assert one.keys() == eight.keys() >= {"loss", "grad_norm", "param_norm", "lr"}
    for name in one:
        np.testing.assert_allclose(one[name], eight[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_pieces_of_a_batch_add_up_to_the_batch():
    """Without batch statistics and randomness, two pieces of 8 are one batch of 16."""
    settings = {"dtype": "float64", "frozen_stats": "all", "train_transforms": ()}
    with jax.enable_x64(True):
        whole, pieces = (toy.Steps(toy.toy_config(accumulate=k, **settings)) for k in (1, 2))
        whole.run(3)
        pieces.run(3)
        toy.same_leaves(whole.host().params, pieces.host().params, 1e-10)


def test_frozen_stages_keep_weights_statistics_and_average_and_hold_no_optimiser_state():
    config = toy.toy_config(groups=(("head", {}), ("backbone/stage3", {"lr": 0.5}), (".*", None)), ema=0.9)
    work = toy.Steps(config)
    start = work.host()
    work.run(4)
    end = work.host()
    before, after, average = (optim.paths(tree) for tree in (start.params, end.params, end.ema["params"]))
    for path, leaf in before.items():
        frozen = leaf.tobytes() == after[path].tobytes()
        assert frozen != work.optimizer.moves(path), path
        assert not frozen or leaf.tobytes() == average[path].tobytes(), path
    for path, leaf in optim.paths(start.stats).items():
        moved = leaf.tobytes() != optim.paths(end.stats)[path].tobytes()
        assert moved == path.startswith("backbone/stage3"), path
    held = {leaf.shape for leaf in jax.tree.leaves(end.opt["backbone"])}
    assert before["backbone/stem/conv/kernel"].shape not in held


def test_frozen_gradients_are_never_computed():
    """A probe's step has the convolutions of the forward pass alone, and the head's product with its gradient."""

    def products(groups) -> int:
        work = toy.Steps(toy.toy_config(groups=groups))
        batch = next(iter(streams.batches(work.experiment.streams, work.mesh, 0, threads=0)))
        return count(jax.make_jaxpr(work.function)(work.state, batch).jaxpr)

    def count(jaxpr) -> int:
        leaves = [leaf for eqn in jaxpr.eqns for leaf in jax.tree.leaves(list(eqn.params.values()))]
        inner = [getattr(leaf, "jaxpr", leaf) for leaf in leaves if hasattr(getattr(leaf, "jaxpr", leaf), "eqns")]
        own = [eqn.primitive.name for eqn in jaxpr.eqns]
        return own.count("conv_general_dilated") + own.count("dot_general") + sum(map(count, inner))

    forward = 7  # the stem, and two in each of three blocks
    assert products((("head", {}), (".*", None))) == forward + 2
    assert products(((".*", {}),)) > 3 * forward


def test_the_old_state_is_donated():
    work = toy.Steps(toy.toy_config())
    old = jax.tree.leaves((work.state.params, work.state.opt))
    work.run(1)
    assert all(leaf.is_deleted() for leaf in old)


def test_average_by_hand():
    """The rate is 1 - min(decay, (1 + t) / (10 + t)): at t = 0 the average goes 0.9 of the way."""
    work = toy.Steps(toy.toy_config(ema=0.99))
    old = work.host().params["head"]["kernel"]
    work.run(1)
    end = work.host()
    expected = old + 0.9 * (end.params["head"]["kernel"] - old)
    np.testing.assert_allclose(end.ema["params"]["head"]["kernel"], expected, rtol=1e-5, atol=1e-8)
