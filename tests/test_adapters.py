"""Few new parameters beside frozen kernels: nothing at first, then the same network merged as unmerged."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose

from tl import adapters, begin, build, config, optim
from tl.errors import InputError


def small(**changes):
    return toy.toy_config("configs/lora.py", **{**toy.METHODS["lora"], "train_transforms": (), **changes})


def test_the_sum_by_hand():
    chosen = small(lora__rank=1, lora__alpha=2.0)
    params = {"backbone": {"conv": {"kernel": jnp.ones((1, 1, 2, 3)), "bias": jnp.zeros(3)}}}
    tree = adapters.added(params, chosen, jax.random.key(0))
    assert_allclose(adapters.merged(tree, chosen)["backbone"]["conv"]["kernel"], 1)
    tree["backbone"]["conv"] |= {"lora_a": jnp.array([[1.0], [2.0]]), "lora_b": jnp.array([[1.0, 0.0, 3.0]])}
    merged = adapters.merged(tree, chosen)["backbone"]["conv"]
    assert set(merged) == {"kernel", "bias"}
    assert_allclose(merged["kernel"][0, 0], 1 + 2 * np.array([[1, 0, 3], [2, 0, 6]]))


def test_it_begins_as_the_network_itself():
    with_, without = toy.Steps(small()), toy.Steps(small(lora__rank=0, groups=((".*", {}),)))
    rows = next(iter(with_.experiment.passes["train"]))
    outputs = [
        begin.binder(work.experiment, lambda path: False)(work.state.params, work.state.stats).logits(rows)
        for work in (with_, without)
    ]
    assert_allclose(*outputs, rtol=1e-6)
    moving = {path for path in with_.optimizer.labels if with_.optimizer.moves(path)}
    assert moving == {path for path in moving if adapters.own(path) or path.startswith("head/")}
    assert any(path == "backbone/stage1/block1/conv1/lora_a" for path in moving)


def test_what_a_run_leaves_is_an_ordinary_network(tmp_path):
    """Its merged weights, evaluated without LoRA, predict what the run predicted with it."""
    chosen = small(schedule__lr=0.05, optim__name="adam")
    summary = build.run(chosen, tmp_path / "lora", quiet=True, report=False)
    held = toy.leaves_of(tmp_path / "lora")
    assert not any("lora" in path for path in held)
    assert summary["params/trained"] < summary["params/total"]
    assert summary["params/optimizer_bytes"] >= 2 * 4 * summary["params/trained"]
    plain = {**toy.SMALL, "model_args": toy.PLAIN["model_args"], "weights": f"run:{tmp_path / 'lora'}"}
    again = config.load("configs/evaluate.py", {**plain, "steps": 0, "epochs": 0})
    build.run(again, tmp_path / "plain", quiet=True, report=False)
    one, two = (dict(np.load(tmp_path / name / "predictions.npz")) for name in ("lora", "plain"))
    assert_allclose(one["test/outputs/label"], two["test/outputs/label"], atol=1e-5)
    start = toy.Steps(chosen).host().params
    moved = (
        held["params/backbone/stage1/block1/conv1/kernel"] - optim.paths(start)["backbone/stage1/block1/conv1/kernel"]
    )
    assert np.linalg.matrix_rank(moved.reshape(-1, moved.shape[-1]), tol=1e-4) == 2


def test_ranks_and_layers_that_cannot_be():
    with pytest.raises(InputError, match=r"config.lora.rank=5 is larger than .* layers, among them backbone/"):
        toy.Steps(small(lora__rank=5))
    for wrong in ({"lora__rank": -1}, {"lora__rank": 0, "lora__alpha": 8.0}):
        with pytest.raises(InputError, match=r"config.lora.rank=.* learns nothing"):
            toy.Steps(small(**wrong))
    with pytest.raises(InputError, match=r"config.lora.layers='backbone/stage9.*' matches no layer with a kernel"):
        toy.Steps(small(lora__layers="backbone/stage9.*"))


def test_a_parallel_convolution_is_more_at_the_middle_tap():
    """conv(x, kernel with the adapter at its middle) = conv(x, kernel) + conv of one pixel (x, adapter)."""
    chosen = toy.toy_config("configs/adapters.py", **toy.METHODS["adapters"])
    rng = np.random.default_rng(0)
    kernel, beside = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(2, 4))
    tree = adapters.added({"backbone": {"conv": {"kernel": jnp.asarray(kernel)}}}, chosen, jax.random.key(0))
    assert_allclose(adapters.merged(tree, chosen)["backbone"]["conv"]["kernel"], kernel, rtol=1e-6)
    tree["backbone"]["conv"]["adapter"] = jnp.asarray(beside)
    x = jnp.asarray(rng.normal(size=(1, 5, 5, 2)))

    def conv(kernel, x=x):
        return jax.lax.conv_general_dilated(
            x, jnp.asarray(kernel), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    merged = adapters.merged(tree, chosen)["backbone"]["conv"]["kernel"]
    assert_allclose(conv(merged), conv(kernel) + conv(beside[None, None]), rtol=1e-5, atol=1e-5)
    dense = adapters.added({"backbone": {"fc": {"kernel": jnp.ones((3, 2))}}}, chosen, jax.random.key(0))
    dense["backbone"]["fc"]["adapter"] = jnp.full((3, 2), 2.0)
    assert_allclose(adapters.merged(dense, chosen)["backbone"]["fc"]["kernel"], 3)
    with pytest.raises(InputError, match=r"config.adapters='head9' matches no layer"):
        adapters.added(
            {"backbone": {"fc": {"kernel": jnp.ones((3, 2))}}}, toy.toy_config(adapters="head9"), jax.random.key(0)
        )


@pytest.mark.parametrize("asked", [{"lora__rank": 1}, {"adapters": "backbone/"}])
def test_what_lies_beside_frozen_kernels_should_move(asked, caplog):
    toy.Steps(toy.toy_config("configs/probe.py", **asked))
    assert "which learn nothing here: put ('.*/(lora_[ab]|adapter)$', {}) before what freezes it" in caplog.text
    caplog.clear()
    groups = ((".*/(lora_[ab]|adapter)$", {}), ("backbone", None), (".*", {}))
    toy.Steps(toy.toy_config("configs/probe.py", **asked, groups=groups))
    assert not caplog.text
