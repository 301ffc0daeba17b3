"""The step: one device equals eight, frozen is frozen, pieces add up, averages average."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import toy

from tl import optim

EVERYTHING = {
    "head__hidden": (6,),
    "head__dropout": 0.5,
    "method_args": {"mixup": 0.4},
    "ema": 0.9,
    "optim__name": "adamw",
}


@pytest.fixture
def x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def test_one_device_equals_eight_in_float64(x64):
    """Parameters, statistics, optimiser state and average after 10 steps with dropout and mixup, to 1e-9."""
    config = toy.toy_config(dtype="float64", **EVERYTHING)
    one, _, _ = toy.train_steps(config, 10, devices=1)
    eight, _, _ = toy.train_steps(config, 10, devices=8)
    assert one.params["backbone"]["stem"]["conv"]["kernel"].dtype == np.float64
    toy.same_leaves(one, eight, 1e-9)


def test_first_step_agrees_in_float32():
    config = toy.toy_config(**EVERYTHING)
    _, one, _ = toy.train_steps(config, 1, devices=1)
    _, eight, _ = toy.train_steps(config, 1, devices=8)
    assert one.keys() == eight.keys() >= {"loss", "grad_norm", "lr"}
    for name in one:
        np.testing.assert_allclose(one[name], eight[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_pieces_of_a_batch_add_up_to_the_batch(x64):
    """Without batch statistics and randomness, two pieces of 8 are one batch of 16."""
    settings = {"dtype": "float64", "frozen_stats": "all", "train_transforms": ()}
    whole, _, _ = toy.train_steps(toy.toy_config(**settings), 3)
    pieces, _, _ = toy.train_steps(toy.toy_config(accumulate=2, **settings), 3)
    toy.same_leaves(whole.params, pieces.params, 1e-10)


def test_what_is_frozen_keeps_every_bit_and_has_no_optimiser_state():
    config = toy.toy_config(groups=(("head", {}), ("backbone/stage3", {"lr": 0.5}), (".*", None)), ema=0.9)
    start, _, optimizer = toy.train_steps(config, 0)
    end, _, _ = toy.train_steps(config, 4)
    before, after = optim.paths(start.params), optim.paths(end.params)
    average = optim.paths(end.ema["params"])
    for path in before:
        same = before[path].tobytes() == after[path].tobytes()
        assert same != optimizer.moves(path), path
        if same:
            assert before[path].tobytes() == average[path].tobytes()
    statistics = [optim.paths(s.stats) for s in (start, end)]
    for path, value in statistics[0].items():
        moved = value.tobytes() != statistics[1][path].tobytes()
        assert moved == path.startswith("backbone/stage3"), path
    held = {leaf.shape for leaf in jax.tree.leaves(end.opt["backbone"])}
    assert before["backbone/stem/conv/kernel"].shape not in held


def test_frozen_gradients_are_never_computed():
    """A probe's step has no convolution of the backward pass: as many as the forward pass has."""
    from tl import build, train
    from tl.data import streams
    from tl.step import make_step

    def convolutions(groups) -> int:
        experiment = build.experiment(toy.toy_config(groups=groups))
        state, optimizer = train.init(experiment)
        bind = train.binder(experiment, train.statistics_policy(optimizer, "auto"))
        step = make_step(bind, experiment.method, optimizer, steps=10, seed=0)
        batch = next(iter(streams.batches(experiment.streams, experiment.mesh, 0, threads=0)))
        text = jax.jit(step).lower(state, batch).as_text()
        return text.count("stablehlo.convolution")

    probe, full = convolutions((("head", {}), (".*", None))), convolutions(((".*", {}),))
    assert 0 < probe < full
    assert probe == 7  # the stem and two in each of three blocks


def test_average_by_hand():
    """rate 1 - min(decay, (1 + t) / (10 + t)): after the first step 0.9 of the way, since t = 0."""
    config = toy.toy_config(ema=0.99, optim__clip=0.0)
    start, _, _ = toy.train_steps(config, 0)
    end, _, _ = toy.train_steps(config, 1)
    old, new = start.params["head"]["kernel"], end.params["head"]["kernel"]
    np.testing.assert_allclose(end.ema["params"]["head"]["kernel"], old + 0.9 * (new - old), rtol=1e-5, atol=1e-8)
