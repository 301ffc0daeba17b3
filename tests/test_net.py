"""The net a loss sees: parts by name, calls, dropout keys, and the same net with other parameters."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tl.models.heads import Head
from tl.net import Net
from tl.preprocess import Preprocess

HALF = Preprocess(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
BATCH = {"image": jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8))}


class Echo:
    """A part that gives back its input and counts its statistics up; `seen` is a list of (variables, mode, options)."""

    dtype = "float32"

    def __init__(self):
        self.seen = []

    def apply(self, variables, x, *, mode, **options):
        self.seen.append((variables, mode, options))
        pooled = {"pooled": x if x.ndim == 2 else x.mean(axis=(1, 2)), "input": x}
        mutable = options.pop("mutable", None)
        counted = {name: value + 1 for name, value in variables["batch_stats"].items()}
        return (pooled, {"batch_stats": counted}) if mutable else pooled


def head_params(features, outputs):
    return {"kernel": jnp.ones((features, outputs)), "bias": jnp.zeros(outputs)}


def echo_net(**more):
    parts = {"backbone": Echo(), "teacher": Echo()}
    return Net(
        modules=parts,
        tasks=("label",),
        preprocess={"backbone": HALF, "teacher": Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))},
        params={name: {"w": name} for name in parts},
        stats={},
        **more,
    )


# --- plumbing -----------------------------------------------------------------------------------------------


def test_images_are_normalised_as_the_part_asks():
    white = {"image": jnp.full((1, 8, 8, 3), 255, jnp.uint8)}
    net = echo_net()
    # (1 - .5) / (.25, .5, 1)
    assert_allclose(net.features(white), [[2, 1, 0.5]])
    assert_allclose(net.features(white, part="teacher"), [[1, 1, 1]])
    # floats are in 0..255 too, as mixing leaves them
    assert_allclose(net.features({"image": jnp.full((1, 8, 8, 3), 127.5)}), [[0, 0, 0]])


def test_a_cached_map_goes_in_untouched_behind_its_name():
    net = echo_net()
    cached = jnp.full((1, 2, 2, 4), 3.0)
    maps = net.maps({"label": jnp.zeros(1), "map/stage2": cached, "image": BATCH["image"][:1]})
    assert_array_equal(maps["input"], cached)
    assert net.modules["backbone"].seen[0][2] == {"start": "stage2"}


def test_train_is_the_nets_and_can_be_set_per_call():
    net = echo_net(train=True, own_stats=lambda path: path == "teacher/bn")
    net.features(BATCH)
    net.features(BATCH, part="teacher")
    net.features(BATCH, part="teacher", train=False)
    modes = [net.modules["backbone"].seen[0][1], *(mode for _, mode, _ in net.modules["teacher"].seen)]
    assert [mode.train for mode in modes] == [True, True, False]
    # own_stats is asked with the part's name in front, and never outside training
    assert [mode.own_stats("bn") for mode in modes] == [False, True, False]


def test_statistics_follow_the_calls_that_may_update_them():
    net = echo_net(train=True)
    net.stats = {"backbone": {"calls": 0}}

    def calls(**flags):
        net.features(BATCH, **flags)
        return net.stats["backbone"]["calls"]

    assert [calls(), calls(), calls(update_stats=False), calls(train=False), calls()] == [1, 2, 2, 2, 3]
    net.update_stats = False
    assert [calls(), calls(update_stats=True)] == [3, 4]


def test_parts_are_attributes():
    net = echo_net()
    x = jnp.ones((1, 4))
    assert_array_equal(net.teacher(x)["pooled"], net.call("teacher", x)["pooled"])
    assert net.modules["teacher"].seen[0][0] == {"params": {"w": "teacher"}, "batch_stats": {}}
    with pytest.raises(AttributeError, match="no part 'techer': its parts are backbone, teacher"):
        _ = net.techer
    assert copy.copy(net).params is net.params
    with pytest.raises(ValueError, match="a part cannot be called 'features'"):
        dataclasses.replace(net, modules={"features": Echo()})


def test_heads_go_by_task():
    heads = {"head_age": Head(1), "head_kind": Head(5)}
    backbone = Echo()
    net = Net(
        {"backbone": backbone, **heads},
        tasks=("age", "kind"),
        preprocess={"backbone": HALF},
        params={"backbone": {}, **{name: head_params(3, head.outputs) for name, head in heads.items()}},
        stats={},
    )
    assert net.logits(BATCH, "age").shape == (4, 1)
    assert net.logits(BATCH, "kind").shape == (4, 5)
    with pytest.raises(ValueError, match="unpack"):  # which of the two?
        net.logits(BATCH)


# --- creation -----------------------------------------------------------------------------------------------


def created(names, seed=0):
    """Parameters of equal heads, created in the order of `names`."""
    net = Net({name: Head(3) for name in "abc"}, ("label",), {}, {}, {}, init_key=jax.random.key(seed))
    for name in names:
        net.call(name, {"pooled": jnp.ones((2, 4))})
    assert list(net.params) == list(names)
    return net.params


def test_a_parts_start_depends_on_its_name_alone():
    alone, among = created("a"), created("cba")
    assert_array_equal(alone["a"]["kernel"], among["a"]["kernel"])
    assert not np.array_equal(among["a"]["kernel"], among["b"]["kernel"])
    assert not np.array_equal(alone["a"]["kernel"], created("a", seed=1)["a"]["kernel"])


def test_a_part_without_parameters_is_only_created_when_asked():
    net = Net({"a": Head(3)}, ("label",), {}, {}, {})
    with pytest.raises(KeyError, match="a"):
        net.call("a", {"pooled": jnp.ones((2, 4))})


# --- dropout ------------------------------------------------------------------------------------------------


def test_dropout_follows_the_key_and_the_number_of_the_call():
    head, x = Head(3, dropout=0.5), {"pooled": jnp.ones((4, 8))}
    params = {"head": head_params(8, 3)}

    def calls(seed, **flags):
        net = Net({"head": head}, ("label",), {}, params, {}, train=True, key=jax.random.key(seed))
        return [np.asarray(net.head(x, **flags)) for _ in range(2)]

    first, second = calls(1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, calls(2)[0])
    for left, right in zip(calls(1), (first, second), strict=True):
        assert_array_equal(left, right)
    # every row of x is the same: without dropout so is every row of logits
    plain, again = calls(1, train=False)
    assert_array_equal(plain, again)
    assert_array_equal(plain, np.broadcast_to(plain[0], plain.shape))


# --- elsewhere ------------------------------------------------------------------------------------------------


def test_with_params_is_the_same_net_elsewhere():
    head, x = Head(2), {"pooled": jnp.ones((1, 2))}
    here = {"head": {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}}
    there = {"head": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.zeros(2)}}
    net = Net({"head": head}, ("label",), {}, here, {"head": {}}, train=True, key=jax.random.key(0))
    other = net.with_params(there)
    assert (other.train, other.key, other.modules) == (net.train, net.key, net.modules)
    assert_allclose(other.head(x), [[6, 6]])
    assert_allclose(net.head(x), [[2, 2]])


def test_with_params_keeps_statistics_apart():
    net = echo_net(train=True)
    net.stats = {"backbone": {"calls": 0}}
    other = net.with_params(net.params)
    other.features(BATCH)
    other.features(BATCH)
    assert (net.stats, other.stats) == ({"backbone": {"calls": 0}}, {"backbone": {"calls": 2}})


def test_gradients_flow_through_with_params():
    head = Head(1)  # an inner loop's step can be differentiated

    def outer(kernel):
        inner = Net({"head": head}, ("label",), {}, {}, {}).with_params(
            {"head": {"kernel": kernel, "bias": jnp.zeros(1)}}
        )
        return inner.head({"pooled": jnp.full((1, 2), 4.0)}).sum()

    assert_array_equal(jax.grad(outer)(jnp.ones((2, 1))), [[4.0], [4.0]])
