"""Groups and frozen leaves: which leaf moves, which does not, and what a user can get wrong."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from trees import ALL, PATHS, constant, tree, vector, walk

from tl import optim
from tl.errors import InputError


def raised(*args, **kwargs):
    with pytest.raises(InputError) as error:
        optim.make(*args, **kwargs)
    return str(error.value)


# --- groups -------------------------------------------------------------------------------------------------


def test_the_first_match_wins_and_matches_from_the_start():
    groups = (("backbone/stem", {"lr": 0.1}), ("back", {"lr": 0.5}), ("head", None))
    chosen = optim.assign_groups(PATHS, groups)
    assert [chosen[path] for path in PATHS] == [{"lr": 0.1}] * 3 + [{"lr": 0.5}] * 3 + [None] * 2
    # "stem" stands inside the names, not at their start: it matches nothing
    with pytest.raises(InputError, match="'stem'"):
        optim.assign_groups(PATHS, (("stem", None), (".*", {})))


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ((("head", {}), ("bakbone", {})), ["6 parameters without a group", "backbone/stage1/block1/conv1", "2 more"]),
        ((("bakbone", {}), (".*", {})), ["no parameter is left for 'bakbone'", "backbone/stage1/block1/conv1"]),
        (((".*", {}), ("head", {"lr": 2.0})), ["no parameter is left for 'head'", "first match wins"]),
        ((("head", {"rl": 2.0}), (".*", {})), ["unknown setting of the group 'head' 'rl'", "lr"]),
        ((("head", {"lr": "fast"}), (".*", {})), ["lr of 'head'", "'fast'", "number"]),
        ((("head", {"weight_decay": -1}), (".*", {})), ["weight_decay of 'head'", "-1"]),
        ((("he(ad", {}), (".*", {})), ["'he(ad' is no regular expression"]),
        (("head", {}), ["'head' is no pair"]),  # the outer brackets forgotten
        ((("head",), (".*", {})), ["('head',) is no pair"]),
        ((("head", 0.1), (".*", {})), ["('head', 0.1) is no pair"]),
        ((), ["8 parameters without a group"]),
    ],
)
def test_bad_groups_are_named(groups, words):
    message = raised(tree(dict.fromkeys(PATHS, 0.0)), groups, constant(1.0))
    assert all(word in message for word in words), message


def test_groups_from_json_are_lists():
    assert optim.assign_groups(["a"], json.loads('[["a", {"lr": 2}]]')) == {"a": {"lr": 2}}


def test_other_bad_settings_are_named():
    params = {"head": {"kernel": 0.0}}
    frozen = ((".*", None),)  # nothing moves: still said
    assert "unknown optimiser 'adamq'" in raised(params, frozen, constant(1.0), name="adamq")
    assert "optim.clip is -1.0" in raised(params, ALL, constant(1.0), clip=-1.0)


# --- frozen -------------------------------------------------------------------------------------------------

FROZEN_BODY = (("backbone", None), ("head", {}))


def body_and_head():
    params = {
        "backbone": {"stem": {"kernel": vector(-0.0, 1.5, -2.5)}},
        "head": {"bias": vector(0.0), "kernel": vector(1, 1)},
    }
    grads = {
        "backbone": {"stem": {"kernel": vector(100, 100, 100)}},
        "head": {"bias": vector(0.0), "kernel": vector(3, 4)},
    }
    return params, grads


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_frozen_leaves_stay_bit_for_bit_and_hold_no_state(name):
    params, grads = body_and_head()
    optimizer = optim.make(params, FROZEN_BODY, constant(0.1), name=name, weight_decay=0.1)
    after, opt, norm = walk(optimizer, params, [grads, grads])
    eager, _, _ = optimizer.update(grads, optimizer.init(params), params, jnp.int32(0), None)
    before = np.asarray(params["backbone"]["stem"]["kernel"])
    for found in (after, eager):  # XLA drops + 0, which would turn -0.0 into 0.0
        assert np.asarray(found["backbone"]["stem"]["kernel"]).tobytes() == before.tobytes()
    assert not np.array_equal(after["head"]["kernel"], params["head"]["kernel"])
    assert jax.tree.leaves(opt["backbone"]) == []
    assert norm == 5  # of (3, 4): the frozen 100s do not count


def test_a_frozen_leaf_takes_no_part_in_clipping():
    params, grads = body_and_head()
    optimizer = optim.make(params, FROZEN_BODY, constant(1.0), momentum=0.0, clip=1.0)
    after, _, norm = walk(optimizer, params, [grads])
    assert_allclose(after["head"]["kernel"], [1 - 3 / 5, 1 - 4 / 5], rtol=1e-6)
    assert norm == 5  # before clipping


def test_the_gradient_of_what_is_frozen_is_never_computed():
    params = {"backbone": {"kernel": jnp.ones((4, 4))}, "head": {"kernel": jnp.ones((4, 2))}}
    x = jnp.ones((3, 4))

    def products(groups):
        """Matrix products in one whole update, clipping and norm included."""
        optimizer = optim.make(params, groups, constant(0.1), clip=1.0, weight_decay=0.1)

        def loss(p):
            p = optimizer.freeze(p)
            return jnp.sum((x @ p["backbone"]["kernel"]) @ p["head"]["kernel"])

        def step(p, opt):
            return optimizer.update(jax.grad(loss)(p), opt, p, jnp.int32(0), None)

        return str(jax.make_jaxpr(step)(params, optimizer.init(params))).count("dot_general")

    # forward 2; behind it the head's gradient, the features' and the body's
    assert products(ALL) == 5
    assert products(FROZEN_BODY) == 3
    assert products(((".*", None),)) <= 2


def test_freeze_does_not_change_values():
    params, _ = body_and_head()
    optimizer = optim.make(params, FROZEN_BODY, constant(0.1))
    assert [optimizer.moves(path) for path in optim.paths(params)] == [False, True, True]
    assert jax.tree.all(jax.tree.map(np.array_equal, optimizer.freeze(params), params))


def test_nothing_moves_and_nothing_breaks():
    params, grads = body_and_head()
    optimizer = optim.make(params, ((".*", None),), constant(0.1), clip=1.0)
    after, _, norm = walk(optimizer, params, [grads])
    assert jax.tree.all(jax.tree.map(np.array_equal, after, params))
    assert norm == 0


# --- clipping and parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clip", "scale"), [(0.0, 1.0), (1.0, 1 / 5), (10.0, 1.0)])
def test_clipping_bounds_the_norm_over_all_leaves(clip, scale):
    params = {"a": {"kernel": vector(0.0)}, "b": {"kernel": vector(0.0)}}
    optimizer = optim.make(params, ALL, constant(1.0), momentum=0.0, clip=clip)
    after, _, norm = walk(optimizer, params, [{"a": {"kernel": vector(3.0)}, "b": {"kernel": vector(4.0)}}])
    assert_allclose([after["a"]["kernel"][0], after["b"]["kernel"][0]], [-3 * scale, -4 * scale], rtol=1e-6)
    assert_allclose(norm, 5)


def test_a_gradient_of_zero_is_not_divided_by():
    params = {"a": {"kernel": vector(1.0)}}
    optimizer = optim.make(params, ALL, constant(1.0), clip=1.0)
    after, _, norm = walk(optimizer, params, [{"a": {"kernel": vector(0.0)}}])
    assert (after["a"]["kernel"][0], norm) == (1, 0)


def test_a_part_that_a_step_does_not_move_stays_bit_for_bit():
    params = {"a": {"kernel": vector(-0.0, 1)}, "b": {"kernel": vector(1.0)}}
    grads = {"a": {"kernel": vector(30, 40)}, "b": {"kernel": vector(2.0)}}
    optimizer = optim.make(params, ALL, constant(0.1), name="adamw", weight_decay=0.1, clip=1.0)
    moved, state, _ = walk(optimizer, params, [grads])
    update = jax.jit(lambda p, o: optimizer.update(grads, o, p, jnp.int32(1), ("b",)))
    after, opt, norm = update(moved, state)
    for old, new in zip(
        jax.tree.leaves((moved["a"], state["a"])), jax.tree.leaves((after["a"], opt["a"])), strict=True
    ):
        assert np.asarray(old).tobytes() == np.asarray(new).tobytes()
    assert after["b"]["kernel"] != moved["b"]["kernel"]
    assert [int(n) for n in jax.tree.leaves(opt["b"]) if n.ndim == 0] == [2]  # Adam's own count
    assert norm == 2  # only of what this step moves


def test_a_part_that_does_not_exist_is_an_error():
    params = {"head": {"kernel": vector(1.0)}}
    optimizer = optim.make(params, ALL, constant(0.1))
    with pytest.raises(InputError, match="unknown part to move 'haed': did you mean head"):
        optimizer.update(params, optimizer.init(params), params, jnp.int32(0), ("haed",))


def test_paths_and_map_paths_name_every_leaf():
    nested = tree({"b/x": 1, "a/y/z": 2})
    assert optim.paths(nested) == {"a/y/z": 2, "b/x": 1}
    assert_array_equal(list(optim.paths(nested)), ["a/y/z", "b/x"])
    assert optim.map_paths(lambda path, leaf: f"{path}={leaf}", nested) == tree({"b/x": "b/x=1", "a/y/z": "a/y/z=2"})
