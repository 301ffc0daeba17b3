"""Regularised fine-tuning: each term by hand, and what each method takes from the weights it begins with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose
from safetensors.numpy import load_file

from tl import begin, build, regularisers
from tl.errors import InputError

OLD_FILE = toy.OLD.removeprefix("file:")
NO_DROPOUT = {"model": "lenet", "model_args": {"widths": (4,), "hidden": 12, "dropout": 0.0}}


def test_distances_of_trees():
    here, there = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}, {"a": jnp.array([1.0, 0.0]), "b": jnp.array(0.0)}
    assert_allclose(regularisers.squared_norm(here), 1 + 4 + 9)
    assert_allclose(regularisers.squared_distance(here, there), 4 + 9)


def test_map_distance_is_half_the_weighted_mean_square_of_each_channel():
    # One image of 1 x 2 pixels and two channels: channel 0 differs by 1 and 3, channel 1 by 2 and 0.
    here = jnp.array([[[[1.0, 2.0], [3.0, 0.0]]]])
    mean_squares = (1 + 9) / 2, (4 + 0) / 2
    even, first = jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])
    assert_allclose(regularisers.map_distance(here, jnp.zeros_like(here), even), 0.5 * sum(mean_squares))
    assert_allclose(regularisers.map_distance(here, jnp.zeros_like(here), first), 0.5 * 2 * mean_squares[0])
    twice = jnp.concatenate([here, jnp.zeros_like(here)])  # a mean over images
    assert_allclose(regularisers.map_distance(twice, jnp.zeros_like(twice), even), 0.25 * sum(mean_squares))


def test_smallest_singular_values():
    features = jnp.array([[3.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    assert_allclose(regularisers.smallest_singular_values(features), 0.25, rtol=1e-6)
    assert_allclose(regularisers.smallest_singular_values(features, 2), 9.25, rtol=1e-6)
    # d s^2 = 2 s u v^T
    gradient = jax.grad(regularisers.smallest_singular_values)(features)
    assert_allclose(gradient, [[0, 0, 0], [0, 1, 0]], atol=1e-6)


def test_class_relationship_sums_predictions_by_class():
    said = jnp.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [1.0, 0.0]])
    found = regularisers.class_relationship(said, jnp.array([0, 0, 1, 1]), jnp.array([True, True, True, False]), 3)
    assert_allclose(found, [[1.4, 0.6], [0.2, 0.8], [0, 0]], rtol=1e-6)


def row(name: str, **changes):
    return toy.toy_config(f"configs/{name}.py", **{**toy.METHODS[name], "train_transforms": (), **changes})


@pytest.mark.parametrize("name", ["l2_sp", "lwf", "delta"])
def test_at_the_start_nothing_has_moved(name):
    """Without dropout, and with frozen statistics, the network is where it began."""
    model = {} if name == "delta" else NO_DROPOUT
    work = toy.Steps(row(name, **model, frozen_stats="all", schedule__lr=0.05))
    scalar = {"lwf": "loss_old"}.get(name, "moved")
    first, *_, last = work.run(4)
    assert first[scalar] == pytest.approx(0, abs=1e-6)
    assert last[scalar] > 1e-6


def test_l2_sp_is_the_task_and_two_squared_norms():
    work = toy.Steps(row("l2_sp", method_args={"alpha": 0.5, "beta": 0.25}))
    start = work.host().params
    work.run(2)
    now = work.host().params
    third = work.run(1)[0]
    apart = regularisers.squared_distance(now["backbone"], start["backbone"])
    size = regularisers.squared_norm(now["head"])
    assert_allclose(third["loss"], third["loss_task"] + 0.25 * apart + 0.125 * size, rtol=1e-5)


def test_delta_weighs_channels_by_the_rise_of_the_loss_without_them():
    work = toy.Steps(row("delta", method_args={"temperature": 0.1, "batches": 1}), devices=1)
    attention = work.state.memory["attention"]
    assert list(attention) == ["stage1"]
    net = begin.binder(work.experiment, lambda path: False)(work.state.params, work.state.stats)
    (rows,) = list(work.experiment.passes["train"])[:1]
    task = work.experiment.tasks["label"]

    def loss_without(channel: int) -> float:
        def silence(name: str, value: jax.Array) -> jax.Array:
            return value.at[..., channel].set(0) if name == "stage1" and channel >= 0 else value

        each = task.each(net.logits(rows, change=silence), rows["label"])
        return float(each[rows["mask"]].sum())

    rises = np.array([loss_without(channel) - loss_without(-1) for channel in range(attention["stage1"].size)])
    worth = (rises - rises.mean()) / rises.std(ddof=1)
    assert_allclose(attention["stage1"], jax.nn.softmax(worth / 0.1), rtol=1e-3)
    assert np.ptp(attention["stage1"]) > 1e-3
    even = toy.Steps(row("delta", method_args={"batches": 0})).state.memory["attention"]["stage1"]
    assert_allclose(even, 1 / even.size, rtol=1e-6)


def test_the_old_classifier_comes_from_the_weights():
    held = load_file(OLD_FILE)
    for name in ("lwf", "co_tuning"):
        state = toy.Steps(row(name)).host()
        assert_allclose(state.params["old_head"]["kernel"], held["params/head/kernel"])
        assert state.params["head"]["kernel"].shape == (12, 10)
        with pytest.raises(InputError, match=f"'{name}' goes on from the classifier of the weights"):
            build.experiment(row(name, weights="none"))


def test_co_tuning_asks_of_each_class_what_the_old_classifier_says_of_its_images():
    work = toy.Steps(row("co_tuning"))
    net = begin.binder(work.experiment, lambda path: False)(work.state.params, work.state.stats)
    said, labels = [], []
    for rows in work.experiment.passes["train"]:
        said.append(np.asarray(jax.nn.softmax(net.old_head(net.maps(rows))))[np.asarray(rows["mask"])])
        labels.append(np.asarray(rows["label"])[np.asarray(rows["mask"])])
    said, labels = np.concatenate(said), np.concatenate(labels)
    expected = [said[labels == new].mean(axis=0) for new in range(10)]
    assert_allclose(work.state.memory, expected, rtol=1e-4)


def test_stochnorm_between_batch_and_running_statistics():
    work = toy.Steps(row("stochnorm"), devices=1)
    rows = next(iter(work.experiment.passes["train"]))
    bind = begin.binder(work.experiment, lambda path: True)

    def features(share: float):
        net = bind(work.state.params, work.state.stats, train=True, key=jax.random.key(0))
        return np.asarray(net.features(rows, running_share=share)), net.stats

    batch, moved = features(0.0)
    running, moved_too = features(1.0)
    evaluated = np.asarray(bind(work.state.params, work.state.stats).features(rows))
    assert_allclose(running, evaluated, rtol=1e-5, atol=1e-6)
    assert not np.allclose(batch, running)
    first = lambda stats: jax.tree.leaves(stats["backbone"]["stem"])  # noqa: E731 (deeper ones see other maps)
    assert all(np.allclose(a, b) for a, b in zip(first(moved), first(moved_too), strict=True))
    between, _ = features(0.5)
    assert not np.allclose(between, batch)
    assert not np.allclose(between, running)


def test_what_would_change_nothing_is_refused():
    with pytest.raises(InputError, match="'stochnorm' is about batch norm, and the backbone has none"):
        toy.Steps(row("stochnorm", **toy.LENET)).run(1)
    with pytest.raises(InputError, match=r"method_args.count=0 must lie in 1\.\."):
        build.experiment(row("bss", method_args={"count": 0}))
