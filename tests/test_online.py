"""Learning at test time: Tent's step and T3A's supports worked by hand, and sets answered as streams."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose

from tl import begin, build, online, optim, predictor
from tl import mesh as meshes
from tl.data import streams
from tl.data.base import from_array
from tl.data.transforms import compose
from tl.errors import InputError
from tl.methods import t3a, tent
from tl.step import State, make_answer
from tl.tasks import make as make_task

TASKS = {"label": make_task("label", "classification", ("a", "b", "c"))}
# 64 test images: two batches of 24, and 16 that are left.
STREAM = {"data": "noise:8,4,120", "labels_per_class": 0, "steps": 0, "eval_batch_size": 24, "classifier": "auto"}
METHODS = {"tent": {"schedule__lr": 1e-2}, "t3a": {"method_args": {"supports": 3}}}


class Scaled:
    """Rows of features, normalised by the batch, scaled and shifted, times a matrix."""

    def __init__(self, matrix, params):
        self.matrix, self.params, self.stats = matrix, params, {"backbone": {}}

    def outputs(self, rows):
        x, bn = rows["image"], self.params["bn"]
        x = (x - x.mean(axis=0, keepdims=True)) / jnp.sqrt(x.var(axis=0, keepdims=True))
        return {"label": (x * bn["scale"][None] + bn["bias"][None]) @ self.matrix}


def test_a_batch_is_answered_and_then_norm_layers_descend_the_entropy():
    """With H the entropy of p = softmax(z), dH/dz = -p (log p + H); the loss is the mean of H over the batch."""
    rng = np.random.default_rng(0)
    x, matrix = rng.normal(size=(5, 2)), rng.normal(size=(2, 3))
    scale, bias, rate = np.array([1.5, 0.5]), np.array([0.2, -0.1]), 0.1
    unit = (x - x.mean(axis=0)) / x.std(axis=0)
    z = (unit * scale + bias) @ matrix
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    entropy = -(p * np.log(p)).sum(axis=1, keepdims=True)
    slope = (-p * (np.log(p) + entropy) / len(x)) @ matrix.T

    with jax.enable_x64(True):
        params = {"bn": {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}, "head": {"kernel": jnp.ones(2)}}
        chosen = optim.make(params, (("bn/", {}), (".*", None)), lambda step: jnp.asarray(rate), momentum=0.0)
        start = State(jnp.zeros((), jnp.int32), params, {}, chosen.init(params), (), {})
        bind: Any = lambda params, stats, **how: Scaled(jnp.asarray(matrix), params)  # noqa: E731
        answer = make_answer(bind, tent.make(TASKS), chosen)
        state, outputs = answer(start, {"image": jnp.asarray(x)})
    assert_allclose(outputs["label"], z, rtol=1e-12)  # before the step
    assert_allclose(state.params["bn"]["scale"], scale - rate * (slope * unit).sum(axis=0), rtol=1e-10)
    assert_allclose(state.params["bn"]["bias"], bias - rate * slope.sum(axis=0), rtol=1e-10)
    assert int(state.step) == 1


class Linear:
    """Features as they are given, and a linear classifier of them."""

    def __init__(self, kernel, bias, **more):
        self.params = {"head": {"kernel": kernel, "bias": bias, **more}}

    def features(self, rows):
        return rows["image"]

    def classify(self, features):
        return features @ self.params["head"]["kernel"] + self.params["head"]["bias"][None]

    def both(self, rows):
        return rows["image"], {"label": self.classify(rows["image"])}


def test_the_surest_supports_of_each_class_make_its_template():
    """By hand: two batches, each image filed under the classifier's own answer, two supports a class are kept."""
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(4, 3)), rng.normal(size=3)
    batches = rng.normal(size=(2, 6, 4))
    entropy_of = lambda p: -(p * np.log(p)).sum(axis=-1)  # noqa: E731
    said = lambda rows: np.exp(rows @ kernel + bias) / np.exp(rows @ kernel + bias).sum(axis=-1, keepdims=True)  # noqa: E731
    held = {c: [(entropy_of(said(kernel[:, c])), kernel[:, c])] for c in range(3)}

    with jax.enable_x64(True):
        net, method = Linear(jnp.asarray(kernel), jnp.asarray(bias)), t3a.make(TASKS, supports=2)
        memory, step = method.memory(net, {"train": [{"image": jnp.asarray(batches[0])}]}), method.online
        assert step is not None
        for rows in batches:
            for row in rows:
                held[int(said(row).argmax())].append((entropy_of(said(row)), row))
            held = {c: sorted(found, key=lambda pair: pair[0])[:2] for c, found in held.items()}
            means = [np.mean([row / np.linalg.norm(row) for _, row in found], axis=0) for found in held.values()]
            wanted = rows @ np.array([mean / np.linalg.norm(mean) for mean in means]).T
            loss, outputs, memory = step(net, memory, {"image": jnp.asarray(rows)})
            assert_allclose(outputs["label"], wanted, rtol=1e-10)
            assert loss == 0
    dropped = [c for c, found in held.items() if not any(np.array_equal(row, kernel[:, c]) for _, row in found)]
    assert [len(found) for found in held.values()] == [2, 2, 2]
    assert dropped  # so a row of the classifier, too, goes where surer features come


@pytest.mark.parametrize("size", [24, 32, 70])
def test_every_image_arrives_once_and_nothing_fills_up_the_last_batch(size):
    split = from_array(
        np.random.default_rng(0).integers(0, 256, (64, 8, 8), dtype=np.uint8), np.arange(64, dtype=np.int32), "x"
    )
    # Of two domains of other sizes, too.
    split = dataclasses.replace(split, labels={**split.labels, "domain": np.int32(np.arange(64) < 50)})
    again = [
        [jax.device_get(batch) for batch in streams.arriving(split, compose([]), size, seed, meshes.make_mesh(devices))]
        for devices, seed in ((jax.devices()[: 1 if size == 70 else 8], 1), (jax.devices()[:1], 1), (None, 2))
        if devices or size != 70
    ]
    orders = [np.concatenate([batch["index"] for batch in found]).tolist() for found in again]
    assert orders[0] == orders[1] != list(range(64))
    assert sorted(orders[0]) == list(range(64))
    assert [len(batch["index"]) for batch in again[0]] == [size] * (64 // size) + [64 % size] * (64 % size > 0)
    assert size == 70 or orders[2] != orders[0]
    assert all((batch["label"] == batch["index"]).all() for batch in again[0])


def begun(name: str, devices: int = 8, **changes: Any):
    config = toy.toy_config(f"configs/{name}.py", **{**STREAM, **METHODS[name], **changes})
    experiment = build.experiment(config, meshes.make_mesh(jax.devices()[:devices]))
    return experiment, *begin.init(experiment)


def answers(name: str, devices: int = 8, **changes: Any):
    experiment, state, optimizer = begun(name, devices, **changes)
    own_stats = begin.statistics_policy(optimizer, experiment.config.frozen_stats)
    return online.answers(experiment, state, optimizer, own_stats, ["test"])["test"]


@pytest.mark.parametrize("name", METHODS)
def test_answers_do_not_depend_on_devices_and_do_on_the_order(name):
    with jax.enable_x64(True):
        one, eight, other = (
            answers(name, **how, dtype="float64") for how in ({"devices": 1}, {"devices": 8}, {"seed": 3})
        )
    assert one["index"].tolist() == list(range(64))
    assert "outputs/label" in one
    assert "label" in one
    assert_allclose(one["outputs/label"], eight["outputs/label"], rtol=1e-9, atol=1e-9)
    assert (one["outputs/label"] != other["outputs/label"]).any()


def test_the_network_learns_along_the_stream_by_the_statistics_of_each_batch():
    """At a rate of 0 a batch is what batch norm in training makes of it; at another the first batch still is."""
    with jax.enable_x64(True):
        experiment, state, _ = begun("tent", dtype="float64")
        net = begin.binder(experiment, lambda path: True)(state.params, state.stats, train=True)
        held = experiment.evals["test"]
        assert held.split is not None
        assert held.transform is not None
        arriving = list(streams.arriving(held.split, held.transform, 24, 0, experiment.mesh))
        still, moved = (answers("tent", schedule__lr=rate, dtype="float64")["outputs/label"] for rate in (0.0, 1e-2))
        for number, batch in enumerate(arriving):
            wanted, rows = net.outputs({"image": batch["image"]})["label"], np.asarray(batch["index"])
            assert_allclose(still[rows], wanted, rtol=1e-8, atol=1e-10)
            assert np.allclose(moved[rows], wanted, rtol=1e-8) == (number == 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "run"
    build.run(toy.toy_config(data="noise:8,4,120", labels_per_class=0, steps=3), folder, quiet=True)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_a_run_answers_online_and_leaves_the_network_as_it_was(name, source, tmp_path):
    config = toy.toy_config(f"configs/{name}.py", **{**STREAM, **METHODS[name], "weights": f"run:{source}"})
    summary = build.run(config, tmp_path, quiet=True)
    held = np.load(source / "predictions.npz")
    assert summary["before/test/accuracy"] == (held["test/outputs/label"].argmax(axis=1) == held["test/label"]).mean()
    said = np.load(tmp_path / "predictions.npz")["test/outputs/label"]
    assert not np.allclose(said, held["test/outputs/label"])
    assert summary["test/accuracy"] == (said.argmax(axis=1) == held["test/label"]).mean()
    for path, leaf in toy.leaves_of(source).items():
        assert (toy.leaves_of(tmp_path)[path] == leaf).all()
    assert "scripts/predict.py" not in (tmp_path / "report.html").read_text()
    with pytest.raises(InputError, match="answered its test images as they came"):
        predictor.load(tmp_path)


def refused(said: str, name: str, **changes: Any) -> None:
    with pytest.raises(InputError, match=said):
        begun(name, **changes)


def test_configs_that_cannot_be():
    refused(r"'tent' learns while it is tested: set config.steps=0, not 6", "tent", steps=6)
    refused(r"'t3a' sees nothing of the source", "t3a", data="digits", target="glyphs:digits")
    refused(r"'tent' adapts batch norm, and the network has none", "tent", **toy.LENET)
    refused(r"'t3a' begins with the rows of a linear classifier", "t3a", head__hidden=(6,))
    refused(r"'t3a' begins with the rows of a linear classifier", "t3a", head__maps=("stage1", "pooled"))
    refused(r"method_args.supports=0 must lie in 1", "t3a", method_args={"supports": 0})
    refused(r"config.weights is 'none'", "tent", classifier="keep")
