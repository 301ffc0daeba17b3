"""Learning from few labels: what is read without them, and the terms of each method worked by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from tl import build, inputs, losses
from tl.errors import InputError
from tl.methods import flexmatch, mean_teacher, mixmatch, pi_model, vat
from tl.tasks import make as make_task

TASKS = {"label": make_task("label", "classification", ("a", "b"))}
NOW = jnp.asarray(1.0)  # the end of the run, where every weight is whole


class Linear:
    """Two logits: a pixel's value over 255, and nothing. Its key draws nothing."""

    dtype = "float32"
    stats: dict = {}  # noqa: RUF012 (nothing is put in)

    def __init__(self, scale=1.0):
        self.scale = scale

    def outputs(self, batch, **flags):
        x = self.scale * batch["image"].reshape(len(batch["image"]), -1)[:, 0].astype(jnp.float32) / 255
        return {"label": jnp.stack([x, jnp.zeros_like(x)], axis=1)}

    def elsewhere(self, params, stats):
        return Linear(params)


def rows(*pixels, **fields):
    image = jnp.asarray(pixels, jnp.float32).reshape(-1, 1, 1, 1) * 255
    return {"image": image, "index": jnp.arange(len(pixels)), **fields}


def batch():
    return {
        "train": rows(1.0, -2.0, label=jnp.array([0, 1])),
        "target": rows(0.5, 3.0),
        "target_strong": rows(-0.5, 4.0),
    }


def loss_of(method, memory=(), net=None):
    return method.steps[0][0](net or Linear(), batch(), memory, jax.random.key(0), NOW)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


SUPERVISED = np.log1p(np.exp([-1.0, -2.0])).mean()


def test_all_images_are_read_without_labels_and_few_with():
    config = toy.toy_config("configs/few_labels.py", **toy.FEW)
    found = inputs.open_data(config).splits
    assert len(found["train"]) == 40
    assert set(found["train"].names) < set(found["unlabelled"].names)
    assert found["unlabelled"].labels == {}
    assert len(found["unlabelled"]) == len(inputs.open_data(toy.toy_config(labels_per_class=0)).splits["train"])
    assert list(found["val"].names) == list(inputs.open_data(toy.toy_config()).splits["val"].names)
    for wrong in ({"labels_per_class": 0}, {"target": "glyphs:digits"}):
        with pytest.raises(InputError, match=r"config.unlabelled reads the images that config.labels_per_class leaves"):
            inputs.open_data(toy.toy_config("configs/few_labels.py", **{**toy.FEW, **wrong}))


def test_a_weight_rises():
    np.testing.assert_allclose(losses.risen(jnp.array([0.0, 0.2, 0.4, 1.0]), 0.4), np.exp([-5, -1.25, 0, 0]), rtol=1e-6)


def test_two_views_get_the_same_answer():
    value, aux = loss_of(pi_model.make(TASKS, weight=3.0))
    apart = np.mean((sigmoid([0.5, 3.0]) - sigmoid([-0.5, 4.0])) ** 2)  # the same for both classes
    np.testing.assert_allclose(aux["loss_labelled"], SUPERVISED, rtol=1e-6)
    np.testing.assert_allclose(value, SUPERVISED + 3 * apart, rtol=1e-5)


def test_the_teacher_answers_and_follows():
    method = mean_teacher.make(TASKS, weight=3.0, decay=0.9)
    value, _ = loss_of(method, {"params": 2.0, "stats": {}})
    apart = np.mean((sigmoid([0.5, 3.0]) - sigmoid([-1.0, 8.0])) ** 2)
    np.testing.assert_allclose(value, SUPERVISED + 3 * apart, rtol=1e-5)
    moved = method.after({"params": 2.0, "stats": {"m": 1.0}}, {"params": 3.0, "stats": {"m": 0.0}}, None)
    assert moved == {"params": pytest.approx(2.1), "stats": {"m": pytest.approx(0.9)}}


class Plane(Linear):
    """Two logits: 3 times the first pixel and 1 times the second, and nothing."""

    def outputs(self, batch, **flags):
        x = batch["image"].reshape(len(batch["image"]), -1).astype(jnp.float32) / 255 @ jnp.array([3.0, 1.0])
        return {"label": jnp.stack([x, jnp.zeros_like(x)], axis=1)}


def test_the_worst_push_is_along_the_gradient():
    """Of two pixels that count 3 and 1: its direction is theirs, up or down as the network's own first try went."""
    image = jnp.array([[0.2, 0.1], [-0.5, 0.3]]).reshape(2, 2, 1, 1) * 255
    held = {"train": {"image": image, "label": jnp.array([0, 1])}, "target": {"image": image}}
    loss = vat.make(TASKS, weight=1.0, size=0.5).steps[0][0]
    value, aux = loss(Plane(), held, (), jax.random.key(0), NOW)

    def divergence(p, q):
        return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))

    logits = np.array([0.7, -1.2])
    reach = 0.5 * np.sqrt(10)  # of the logit, by a push of 0.5 along (3, 1) / sqrt(10); any other reaches less far
    ways = [[divergence(sigmoid(x), sigmoid(x + reach * way)) for way in (-1, 1)] for x in logits]
    # Near nothing the divergence is even in the push: each image goes on as its probe went.
    probe = np.asarray(vat.length_one(jax.random.normal(jax.random.key(0), image.shape))).reshape(2, 2)
    went = np.sign(probe @ np.array([3.0, 1.0]))
    np.testing.assert_allclose(
        aux["apart"], np.mean([w[int(s > 0)] for w, s in zip(ways, went, strict=True)]), rtol=1e-4
    )
    np.testing.assert_allclose(value, np.log1p(np.exp([-0.7, -1.2])).mean() + aux["apart"], rtol=1e-5)
    pushed = vat.length_one(jnp.array([[[3.0], [4.0]], [[0.0], [0.0]]]))
    np.testing.assert_allclose(pushed[:, :, 0], [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_guesses_are_sharpened_and_mixed():
    np.testing.assert_allclose(
        mixmatch.sharpened(jnp.array([[0.8, 0.2]]), 0.5), [[0.64 / 0.68, 0.04 / 0.68]], rtol=1e-6
    )
    # A Beta of nearly nothing leaves every row as it is.
    value, aux = loss_of(mixmatch.make(TASKS, weight=2.0, alpha=1e-3))
    mean = (sigmoid([0.5, 3.0]) + sigmoid([-0.5, 4.0])) / 2
    guess = mean**2 / (mean**2 + (1 - mean) ** 2)
    apart = np.mean([(sigmoid([0.5, 3.0]) - guess) ** 2, (sigmoid([-0.5, 4.0]) - guess) ** 2])
    np.testing.assert_allclose(aux["loss_labelled"], SUPERVISED, rtol=1e-4)
    np.testing.assert_allclose(aux["apart"], apart, rtol=1e-4)
    np.testing.assert_allclose(value, SUPERVISED + 2 * apart, rtol=1e-4)


def test_every_row_is_mixed_with_its_partner(monkeypatch):
    """A share of .3, so .7, and every row with the one behind it: images, labels and guesses by hand."""
    monkeypatch.setattr(jax.random, "beta", lambda *_, **how: jnp.asarray(0.3, how["dtype"]))
    monkeypatch.setattr(jax.random, "permutation", lambda key, count: (jnp.arange(count) + 1) % count)
    _, aux = loss_of(mixmatch.make(TASKS, weight=2.0))
    mean = (sigmoid([0.5, 3.0]) + sigmoid([-0.5, 4.0])) / 2
    guess = mean**2 / (mean**2 + (1 - mean) ** 2)
    # In turn a labelled row and two views of one: x, and the share of the first class.
    x = np.array([1.0, 0.5, -0.5, -2.0, 3.0, 4.0])
    share = np.array([1.0, guess[0], guess[0], 0.0, guess[1], guess[1]])
    x, share = 0.7 * x + 0.3 * np.roll(x, -1), 0.7 * share + 0.3 * np.roll(share, -1)
    said = sigmoid(x)
    entropy = -(share * np.log(said) + (1 - share) * np.log(1 - said))
    np.testing.assert_allclose(aux["loss_labelled"], entropy[[0, 3]].mean(), rtol=1e-5)
    np.testing.assert_allclose(aux["apart"], np.square(said - share)[[1, 2, 4, 5]].mean(), rtol=1e-5)


def test_a_class_that_is_rarely_sure_is_asked_for_less():
    # Six images: three taken for class 0, one for class 1, two for none.
    np.testing.assert_allclose(flexmatch.eased(jnp.array([0, 0, 0, 1, 2, 2]), 2), [1, (1 / 3) / (2 - 1 / 3)], rtol=1e-6)
    # Where most are taken for none, this is what all are measured by.
    np.testing.assert_allclose(flexmatch.eased(jnp.array([0, 2, 2, 2]), 2), [(1 / 3) / (2 - 1 / 3), 0], rtol=1e-6)


def test_sure_guesses_are_labels_of_the_strong_view():
    method = flexmatch.make(TASKS, weight=2.0, threshold=0.9)
    seen = jnp.array([0, 2, 0])  # image 1 was never sure
    value, aux = loss_of(method, seen)
    # 0.62 is below 0.9 and 0.95 above it: one of the two, class 0, whose strong view has the logit 4.
    own = np.log1p(np.exp(-4.0)) / 2
    np.testing.assert_allclose(value, SUPERVISED + 2 * own, rtol=1e-5)
    assert aux["carry"]["seen"].tolist() == [0, 0]
    assert method.after(seen, None, aux["carry"]).tolist() == [0, 0, 0]


def test_all_pieces_of_a_batch_are_remembered():
    """The images of a step, whether it is taken whole or in four pieces."""
    row = {**toy.METHODS["flexmatch"], "method_args": {"threshold": 0.0}, "batch_size": 8}
    held = []
    for accumulate in (1, 4):
        work = toy.Steps(toy.toy_config("configs/flexmatch.py", **row, accumulate=accumulate), devices=1)
        work.run(1)
        held.append(np.asarray(work.host().memory))
    assert (held[0] < 10).sum() == (held[1] < 10).sum() == 8


def test_labels_that_are_not_plain_are_refused():
    for name, value in (("label_smoothing", 0.1), ("class_weights", "balanced")):
        with pytest.raises(InputError, match="the method 'mixmatch' takes labels as they are"):
            build.experiment(toy.toy_config("configs/mixmatch.py", **{**toy.METHODS["mixmatch"], name: value}))


def test_vectors_cannot_be_pushed_by_pixels():
    inputs_of = {"image": jnp.ones((2, 5)), "label": jnp.array([0, 1])}
    with pytest.raises(InputError, match="the method 'vat' wants images"):
        vat.make(TASKS).steps[0][0](Plane(), {"train": inputs_of, "target": inputs_of}, (), jax.random.key(0), NOW)
