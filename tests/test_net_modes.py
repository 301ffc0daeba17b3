"""One network bound in every mode: evaluation, training, statistics that follow or stay, and from a cached map on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tl import models
from tl.models.heads import Head
from tl.models.layers import Mode
from tl.net import Net
from tl.optim import paths
from tl.preprocess import Preprocess

HALF = Preprocess(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
BATCH = {"image": jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8))}
MODULES = {"backbone": models.make("resnet20_cifar", width=4, blocks=(1, 1, 1)), "head": Head(3)}
ONE_LAYER = "backbone/stage2/block1/bn1"


def bind(params, stats, **more):
    return Net(MODULES, ("label",), {"backbone": HALF}, params, stats, **more)


def by_hand(params, stats):
    """Logits without a net: normalise, the backbone alone, a matrix product."""
    mean, std = (jnp.array(values).reshape(1, 1, 1, 3) for values in (HALF.mean, HALF.std))
    image = (BATCH["image"].astype(jnp.float32) / 255 - mean) / std
    own = {"params": params["backbone"], "batch_stats": stats["backbone"]}
    pooled = MODULES["backbone"].apply(own, image, mode=Mode())["pooled"]
    return pooled @ params["head"]["kernel"] + params["head"]["bias"].reshape(1, -1)


@pytest.fixture(scope="module")
def variables():
    @jax.jit
    def create():
        net = bind({}, {}, init_key=jax.random.key(0))
        net.logits(BATCH)
        return net.params, net.stats

    return create()


@pytest.fixture(scope="module")
def ran(variables):
    """Several ways through one network, compiled together: {way: (logits, statistics after)}."""

    @jax.jit
    def run(params, stats):
        ways = {
            "evaluation": bind(params, stats),
            "training": bind(params, stats, train=True),
            "one layer": bind(params, stats, train=True, own_stats=lambda path: path == ONE_LAYER),
            "no layer": bind(params, stats, train=True, own_stats=lambda path: False),
        }
        found = {way: (net.logits(BATCH), net.stats) for way, net in ways.items()}
        net = bind(params, stats, train=True)
        found["no update"] = (net.logits(BATCH, update_stats=False), net.stats)
        maps = bind(params, stats).maps(BATCH)
        for name in ("stage2", "pooled"):
            net = bind(params, stats)
            found[f"behind {name}"] = (net.logits({f"map/{name}": maps[name], "index": BATCH["image"]}), net.stats)
        found["by hand"] = (by_hand(params, stats), stats)
        return found

    return jax.device_get(run(*variables))


def changed(ran, variables, way):
    """Which statistics are no longer what they were."""
    before, after = paths(jax.device_get(variables[1])), paths(ran[way][1])
    assert before.keys() == after.keys()
    return {path for path in before if not np.array_equal(before[path], after[path])}


def test_parts_are_the_top_level_of_the_variables(variables):
    params, stats = variables
    assert set(params) == {"backbone", "head"}
    assert set(stats) == {"backbone"}  # a part without statistics has no entry
    assert "backbone/stage1/block1/conv1/kernel" in paths(params)
    assert set(params["head"]) == {"kernel", "bias"}


def test_evaluation_is_a_plain_forward_pass(ran, variables):
    assert_allclose(ran["evaluation"][0], ran["by hand"][0], rtol=1e-5, atol=1e-5)
    assert changed(ran, variables, "evaluation") == set()


def test_training_normalises_with_the_batch_and_updates_every_statistic(ran, variables):
    assert changed(ran, variables, "training") == set(paths(variables[1]))
    assert not np.allclose(ran["training"][0], ran["evaluation"][0], atol=1e-3)


def test_own_stats_picks_single_layers(ran, variables):
    assert changed(ran, variables, "one layer") == {f"{ONE_LAYER}/mean", f"{ONE_LAYER}/var"}
    assert not np.allclose(ran["one layer"][0], ran["evaluation"][0], atol=1e-4)
    assert not np.allclose(ran["one layer"][0], ran["training"][0], atol=1e-4)


def test_frozen_statistics_make_training_an_evaluation(ran, variables):
    assert changed(ran, variables, "no layer") == set()
    assert_allclose(ran["no layer"][0], ran["evaluation"][0], rtol=1e-5, atol=1e-6)


def test_update_stats_keeps_the_statistics_but_uses_the_batch(ran, variables):
    assert changed(ran, variables, "no update") == set()
    assert_allclose(ran["no update"][0], ran["training"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["stage2", "pooled"])
def test_a_cached_map_gives_the_same_logits(ran, name):
    assert_allclose(ran[f"behind {name}"][0], ran["evaluation"][0], rtol=1e-5, atol=1e-6)
