"""DP-SGD: what joins the sum, what it costs, and what it does not fit."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose
from scipy import integrate

from tl import build, privacy, train
from tl.errors import InputError

ROWS = {"x": jnp.array([[3.0, 4.0], [0.3, 0.4], [-6.0, 8.0]])}


def rows_alone(row, number):
    return {"w": row["x"].sum(axis=0)}, (row["x"].sum(), {"number": number})


def test_each_row_is_cut_to_length_and_then_averaged():
    mean, (value, aux, clipped) = privacy.gradient(rows_alone, ROWS, clip=1.0, noise=0.0, key=jax.random.key(0))
    expected = (np.array([0.6, 0.8]) + np.array([0.3, 0.4]) + np.array([-0.6, 0.8])) / 3
    assert_allclose(mean["w"], expected, rtol=1e-6)
    assert_allclose(value, (7 + 0.7 + 2) / 3, rtol=1e-6)
    assert_allclose(clipped, 2 / 3, rtol=1e-6)
    assert_allclose(aux["number"], 1)


def test_noise_has_the_deviation_of_the_sum():
    wide = {"x": jnp.zeros((4, 20_000))}
    mean, _ = privacy.gradient(rows_alone, wide, clip=2.0, noise=1.5, key=jax.random.key(1))
    assert_allclose(np.std(mean["w"]), 1.5 * 2.0 / 4, rtol=0.02)
    other, _ = privacy.gradient(rows_alone, wide, clip=2.0, noise=1.5, key=jax.random.key(2))
    assert abs(np.corrcoef(mean["w"], other["w"])[0, 1]) < 0.03


@pytest.mark.parametrize(("order", "noise", "share"), [(2, 1.0, 0.1), (5, 2.0, 0.01), (8, 1.1, 256 / 60_000)])
def test_the_divergence_of_a_step_is_an_integral(order, noise, share):
    """E over N(0, noise^2) of (1 - q + q p1 / p0)^order, p1 the density moved by one."""

    def integrand(x):
        density = math.exp(-(x**2) / (2 * noise**2)) / (noise * math.sqrt(2 * math.pi))
        return density * (1 - share + share * math.exp((2 * x - 1) / (2 * noise**2))) ** order

    exact = math.log(integrate.quad(integrand, -40, 40, points=[0, order], limit=400)[0]) / (order - 1)
    assert_allclose(privacy._renyi(order, noise, share), exact, rtol=1e-6)
    assert_allclose(privacy._renyi(order, noise, 1.0), order / (2 * noise**2))


def test_epsilon_grows_with_steps_and_falls_with_noise():
    base = privacy.epsilon(1.1, 256 / 60_000, 14_000, 1e-5)
    # The tutorial of TensorFlow Privacy gives 3.0 for it by a coarser turn from Renyi's measure.
    assert 2.3 < base < 3.0
    assert privacy.epsilon(1.1, 256 / 60_000, 28_000, 1e-5) > base > privacy.epsilon(2.0, 256 / 60_000, 14_000, 1e-5)
    assert privacy.epsilon(1.1, 0.1, 0, 1e-5) == 0


PRIVATE = {**toy.LENET, "privacy__noise": 1.0, "schedule__name": "constant"}


def test_a_private_run_says_what_it_spent(tmp_path):
    summary = build.run(toy.toy_config("configs/finetune.py", **PRIVATE), tmp_path, quiet=True, report=False)
    found = build.experiment(toy.toy_config("configs/finetune.py", **PRIVATE))
    share = 16 / len(found.dataset.splits["train"])
    assert_allclose(summary["privacy/epsilon"], privacy.epsilon(1.0, share, 6, 1e-5))
    assert summary["privacy/delta"] == 1e-5


def test_without_noise_and_with_room_it_is_the_plain_gradient():
    def params(**changes):
        work = toy.Steps(toy.toy_config("configs/finetune.py", **{**PRIVATE, "head__dropout": 0.0, **changes}))
        work.run(2)
        return work.state.params

    plain, private = params(privacy__noise=0.0), params(privacy__noise=1e-9, privacy__clip=1e6)
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(private), strict=True):
        assert_allclose(one, other, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        ("finetune", {"privacy__clip": -1.0}, "config.privacy.clip=-1.0 must not be negative"),
        ("finetune", {"privacy__delta": 1.0}, "config.privacy.delta=1.0 must not be negative, and be less than 1"),
        ("finetune", {"accumulate": 2}, "leave config.accumulate at 1"),
        ("finetune", {"method_args": {"mixup": 0.2}}, "the method 'finetune' compares several"),
        ("finetune", {"method": "bss"}, "the method 'bss' compares several"),
        ("finetune", {"class_weights": "balanced"}, "does not count what config.class_weights learns"),
        ("finetune", {"data": "digits+glyphs:digits"}, "counts every training image once in an epoch"),
        ("finetune", {"privacy__noise": 0.0, "privacy__clip": 1.0}, "is off while its noise is 0"),
        ("mcc", toy.ADAPT, "the method 'mcc' compares several"),
    ],
)
def test_what_is_not_private(config, changes, said):
    with pytest.raises(InputError, match=said):
        build.experiment(toy.toy_config(f"configs/{config}.py", **{**PRIVATE, **changes}))


def test_batch_norm_sees_the_whole_batch(tmp_path):
    changes = {**toy.PLAIN, "privacy__noise": 1.0}
    found = build.experiment(toy.toy_config("configs/finetune.py", **changes))
    with pytest.raises(InputError, match=r"batch norm at backbone/.* uses the whole batch: set frozen_stats=all"):
        train.start(found, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    frozen = build.experiment(toy.toy_config("configs/finetune.py", **{**changes, "frozen_stats": "all"}))
    with train.start(frozen, tmp_path / "run", quiet=True):
        pass


@pytest.mark.parametrize("where", [{"privacy__noise": 1.0}, {"stages": ({}, {"privacy": {"noise": 1.0}})}])
def test_stages_spend_more_than_one_of_them_counts(tmp_path, where):
    config = toy.toy_config("configs/finetune.py", **{**toy.PLAIN, "stages": ({}, {"steps": 2}), **where})
    with pytest.raises(InputError, match="this one has stages: leave one of them out"):
        build.run(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
