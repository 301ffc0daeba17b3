"""Losses of methods that learn from episodes, worked by hand; gradients through steps against finite differences."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from tl import begin, build, contrast, inner
from tl import episodes as maths
from tl.episodes import Episodes, Shape
from tl.errors import InputError
from tl.methods import matching, nearest_mean, protonet, relation
from tl.tasks import make as make_task

TWO = Shape(way=2, shot=2, query=1)
TASKS = {"label": make_task("label", "classification", ("a", "b"))}
BOTH = Episodes(TWO, TWO)
# Class 0: shots (0, 0) and (2, 0), query (1, 1); class 1: shots (0, 4) and (0, 6), query (0, 2).
ROWS = jnp.array([[0.0, 0], [2, 0], [1, 1], [0, 4], [0, 6], [0, 2]])


class Features:
    """A network whose features are its inputs."""

    train = False

    def features(self, inputs):
        return inputs["image"]


def outputs(method, rows=ROWS):
    return np.asarray(method.predict(Features(), {"image": rows}, ())["label"])


def value(method, rows=ROWS):
    return method.steps[0][0](Features(), {"train": {"image": rows}}, (), None, None)


def test_rows_are_parted_by_place_and_put_back():
    support, query = maths.parted(jnp.arange(12), TWO)
    assert support.tolist() == [[[0, 1], [3, 4]], [[6, 7], [9, 10]]]
    assert query.tolist() == [[2, 5], [8, 11]]
    assert maths.labels(TWO, 2).tolist() == [0, 1, 0, 1]
    assert maths.labels_of_shots(TWO).tolist() == [0, 0, 1, 1]
    placed = maths.in_place(jnp.arange(1, 9).reshape(2, 2, 2), TWO)
    assert placed[jnp.array([2, 5, 8, 11])].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert (placed[jnp.array([0, 1, 3, 4, 6, 7, 9, 10])] == 0).all()


def test_prototypes_are_means_and_logits_minus_squared_distances():
    method = protonet.make(TASKS, episodes=BOTH)
    wanted = np.array([[-1.0, -17], [-5, -9]])  # to (1, 0) and (0, 5)
    np.testing.assert_allclose(outputs(method)[[2, 5]], wanted, rtol=1e-6)
    loss, aux = value(method)
    np.testing.assert_allclose(loss, np.mean([np.log1p(np.exp(-16)), np.log1p(np.exp(4))]), rtol=1e-5)
    assert aux["accuracy"] == 0.5


def test_attention_over_shots_by_hand():
    rows = jnp.array([[1.0, 0], [0, 1], [2, 0], [0, 3], [1, 1], [0, 5]])
    method = matching.make(TASKS, scale=2.0, episodes=BOTH)
    half = np.sqrt(0.5)
    # Cosines of the queries (2, 0) and (0, 5) with the four shots.
    attention = np.exp(2 * np.array([[1, 0, 0, half], [0, 1, 1, half]]))
    attention /= attention.sum(axis=1, keepdims=True)
    wanted = np.log(attention.reshape(2, 2, 2).sum(axis=2))
    np.testing.assert_allclose(outputs(method, rows)[[2, 5]], wanted, rtol=1e-5)


def test_relation_scores_are_drawn_to_one_and_nothing():
    scores = jnp.array([[0.9, 0.3], [0.5, 0.6]])
    np.testing.assert_allclose(relation.squared(scores, jnp.array([0, 1])), [0.01 + 0.09, 0.25 + 0.16], rtol=1e-5)


def test_the_nearest_mean_on_the_sphere_and_a_classifier_that_begins_there():
    method = nearest_mean.make(TASKS, episodes=Episodes(None, TWO))
    rows = contrast.unit(ROWS + 1)
    support, query = maths.parted(rows, TWO)
    means = contrast.unit(support.mean(axis=2))
    wanted = -maths.squared_distance(query, means)
    found = outputs(method, ROWS + 1)[[2, 5]]
    np.testing.assert_allclose(found[:, 0] - found[:, 1], wanted[0, :, 0] - wanted[0, :, 1], rtol=1e-5)
    # One step at a small rate on the shots: their loss falls.
    moved = nearest_mean.make(TASKS, finetune=1, rate=0.1, episodes=Episodes(None, TWO))
    assert (outputs(moved, ROWS + 1)[[2, 5]] != found).any()


def test_descent_by_hand():
    """f = p^2 / 2: a step multiplies p by 1 - rate, which is what the gradient through it gains or leaves out."""
    descend = lambda p, **how: inner.descended(lambda q: 0.5 * q**2, p, 0.1, 2, **how)  # noqa: E731
    np.testing.assert_allclose(descend(3.0), 3 * 0.81, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda p: descend(p) * 2)(3.0), 2 * 0.81, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda p: descend(p, first_order=True) * 2)(3.0), 2.0, rtol=1e-6)


@pytest.fixture
def at_work():
    """(loss of the parameters, parameters) of a method on one batch, in float64."""

    def make(name, **arguments):
        changes = {**toy.METHODS[name], "method_args": {**toy.METHODS[name].get("method_args", {}), **arguments}}
        chosen = toy.toy_config(f"configs/{name}.py", **changes, dtype="float64")
        experiment = build.experiment(chosen)
        state, _ = begin.init(experiment)
        bind = begin.binder(experiment, lambda path: True)
        batch = jax.tree.map(jnp.asarray, {"train": experiment.streams["train"][0]})
        loss: Any = experiment.method.steps[0][0]
        objective = lambda params: loss(bind(params, {}, train=True), batch, (), None, None)[0]  # noqa: E731
        return jax.jit(objective), jax.device_get(state.params), (bind, batch, loss)

    with jax.enable_x64(True):
        yield make


def test_the_gradient_through_the_steps_is_that_of_finite_differences(at_work):
    objective, params, _ = at_work("maml", steps=2)
    slope = jax.grad(objective)(params)
    rng = np.random.default_rng(0)
    way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)
    ahead, back = (objective(jax.tree.map(lambda p, w, s=s: p + s * 1e-6 * w, params, way)) for s in (1, -1))
    along = sum(jax.tree.leaves(jax.tree.map(lambda g, w: (g * w).sum(), slope, way)))
    np.testing.assert_allclose((ahead - back) / 2e-6, along, rtol=1e-5)
    first, _, _ = at_work("maml", steps=2, first_order=True)
    np.testing.assert_allclose(first(params), objective(params), rtol=1e-12)
    other = jax.grad(first)(params)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(other), strict=True))


def test_with_the_head_alone_the_features_learn_by_the_queries(at_work):
    """One step of the head by hand: its gradient on the shots is features times what the softmax is wrong by."""
    objective, params, (bind, batch, _) = at_work("maml", only="head")
    net = bind(params, {}, train=True)
    shape = Shape(2, 1, 1)
    support, query = maths.parted(net.features(batch["train"]), shape)
    losses = []
    for shots, queries in zip(support[:, :, 0], query, strict=True):
        kernel, bias = params["head"]["kernel"], params["head"]["bias"]
        wrong = jax.nn.softmax(shots @ kernel + bias[None]) - jnp.eye(2)
        kernel, bias = kernel - 0.4 * shots.T @ wrong / 2, bias - 0.4 * wrong.mean(axis=0)
        losses.append(-jnp.diag(jax.nn.log_softmax(queries @ kernel + bias[None])).mean())
    np.testing.assert_allclose(objective(params), np.mean(losses), rtol=1e-9)


def test_reptile_follows_the_way_back_from_where_the_steps_lead(at_work):
    objective, params, (bind, batch, _) = at_work("reptile", steps=2, rate=0.1)
    slope = jax.grad(objective)(params)
    images = batch["train"]["image"].reshape(4, 4, *batch["train"]["image"].shape[1:])
    ends = []
    for own in images:
        cost = lambda p, own=own: TASKS["label"].loss(  # noqa: E731
            bind(p, {}, train=True).outputs({"image": own})["label"], jnp.array([0, 0, 1, 1])
        )
        end = params
        for _ in range(2):
            end = jax.tree.map(lambda p, g: p - 0.1 * g, end, jax.grad(cost)(end))
        ends.append(end)
    wanted = jax.tree.map(lambda p, *each: p - sum(each) / 4, params, *ends)
    toy.same_leaves(slope, wanted, 1e-9)


def test_a_bottleneck_adapts_too_and_its_norm_is_refused(monkeypatch):
    asked: list[set[str]] = []
    descended = inner.descended
    monkeypatch.setattr(
        inner, "descended", lambda cost, p, *a, **k: asked.append(set(p)) or descended(cost, p, *a, **k)
    )
    narrow = {**toy.METHODS["maml"], "bottleneck__width": 3}
    made = toy.Steps(toy.toy_config("configs/maml.py", **narrow), devices=1)
    made.run(1)
    assert asked[-1] == {"backbone", "bottleneck", "head"}  # these take the steps on the shots
    with pytest.raises(InputError, match=r"statistics of a batch .* no bottleneck.norm"):
        toy.Steps(toy.toy_config("configs/maml.py", **narrow, bottleneck__norm=True), devices=1).run(1)
