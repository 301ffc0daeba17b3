"""Updates, rates and schedules: by how much a leaf moves, by hand and against torch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from trees import ALL, PATHS, constant, tree, vector, walk

from tl import optim
from tl.errors import InputError

# --- rates --------------------------------------------------------------------------------------------------


def test_the_rate_is_the_schedule_times_the_factor():
    params = {"a": {"kernel": vector(1.0)}, "b": {"kernel": vector(1.0)}}
    optimizer = optim.make(params, (("a", {"lr": 10.0}), ("b", {})), constant(0.01), momentum=0.0)
    after, _, _ = walk(optimizer, params, [{"a": {"kernel": vector(2.0)}, "b": {"kernel": vector(2.0)}}])
    assert_allclose(after["a"]["kernel"], [1 - 0.01 * 10 * 2], rtol=1e-6)
    assert_allclose(after["b"]["kernel"], [1 - 0.01 * 2], rtol=1e-6)


def test_the_rate_follows_the_step_and_not_the_count_of_updates():
    params, grads = {"a": {"kernel": vector(0.0)}}, {"a": {"kernel": vector(1.0)}}
    schedule = optim.make_schedule("step", 1.0, 8, boundaries=(0.5,))  # a tenth from step 4 on
    optimizer = optim.make(params, ALL, schedule, momentum=0.0)
    after, _, _ = walk(optimizer, params, [grads, grads], first_step=3)
    assert_allclose(after["a"]["kernel"], [-1 - 0.1], rtol=1e-6)


def test_depths_follow_the_order_of_the_blocks():
    depth = optim.layer_depths(PATHS)
    assert [depth[path] for path in PATHS] == [0, 0, 0, 1, 2, 3, 4, 4]


def test_depths_of_other_families():
    paths = [
        "backbone/stem/conv/kernel",
        "backbone/stage1/block2/conv/kernel",
        "backbone/stage1/block10/conv/kernel",  # 10 is behind 2
        "backbone/stage2/conv1/kernel",
        "backbone/stage2/conv2/kernel",  # a stage without blocks is one unit
        "backbone/final/norm/scale",
        "backbone/last/conv/kernel",
        "head_label/kernel",
        "discriminator/fc1/kernel",
    ]
    assert list(optim.layer_depths(paths).values()) == [0, 1, 2, 3, 3, 4, 5, 6, 6]
    fully = ["backbone/stage5/conv1/kernel", "backbone/fc1/dense/kernel", "backbone/fc2/dense/kernel", "head/kernel"]
    assert list(optim.layer_depths(fully).values()) == [0, 1, 2, 3]


def test_layer_decay_is_a_power_of_the_distance_from_the_head():
    # depths 0 to 4; the group's own factor comes on top
    groups = (("backbone/stage2", {"lr": 3.0}), (".*", {}))
    optimizer = optim.make(tree(dict.fromkeys(PATHS, 0.0)), groups, constant(1.0), layer_decay=0.5)
    found = [optimizer.factors[path] for path in PATHS]
    assert found == [1 / 16, 1 / 16, 1 / 16, 1 / 8, 1 / 4, 3 * 1 / 2, 1, 1]


# --- directions ---------------------------------------------------------------------------------------------


def scalar_walk(grads, lr=0.1, **settings):
    """A kernel that starts at 1, after an update for each of `grads`."""
    params = {"part": {"kernel": vector(1.0)}}
    optimizer = optim.make(params, ALL, constant(lr), **settings)
    after, _, _ = walk(optimizer, params, [{"part": {"kernel": vector(g)}} for g in grads])
    return float(after["part"]["kernel"][0])


def test_sgd_with_momentum_couples_the_decay_by_hand():
    settings = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1}
    # g = .5 + .1 x 1 = .6; buffer .6; 1 - .06 = .94
    assert_allclose(scalar_walk([0.5], **settings), 0.94, rtol=1e-6)
    # g = .5 + .1 x .94 = .594; buffer .9 x .6 + .594 = 1.134; .94 - .1134 = .8266
    assert_allclose(scalar_walk([0.5, 0.5], **settings), 0.8266, rtol=1e-6)


def test_nesterov_looks_one_step_ahead_by_hand():
    settings = {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
    # g = .6, buffer .6, direction .6 + .9 x .6 = 1.14: .886
    assert_allclose(scalar_walk([0.5], **settings), 0.886, rtol=1e-6)
    # g = .5886, buffer .54 + .5886 = 1.1286, direction .5886 + .9 x 1.1286 = 1.60434: .725566
    assert_allclose(scalar_walk([0.5, 0.5], **settings), 0.725566, rtol=1e-6)


def test_adamw_decays_beside_the_gradient_by_hand():
    settings = {"name": "adamw", "weight_decay": 0.1}
    # the first direction of Adam is the sign: 1 - .1 (1 + .1 x 1) = .89
    assert_allclose(scalar_walk([0.5], **settings), 0.89, rtol=1e-6)
    # m = .1 (.9 x .5 + .25) = .07, v = .001 (.999 x .25 + .0625) = .00031225
    direction = (0.07 / (1 - 0.9**2)) / np.sqrt(0.00031225 / (1 - 0.999**2))
    assert_allclose(scalar_walk([0.5, 0.25], **settings), 0.89 - 0.1 * (direction + 0.1 * 0.89), rtol=1e-5)


def test_adam_takes_the_decay_into_the_gradient():
    # -.05 + .1 x 1 = .05 turns the sign around: adam goes down by lr, adamw up by lr and down by lr x .1
    assert_allclose(scalar_walk([-0.05], name="adam", weight_decay=0.1), 0.9, rtol=1e-5)
    assert_allclose(scalar_walk([-0.05], name="adamw", weight_decay=0.1), 1 + 0.1 - 0.01, rtol=1e-5)


def torch_sgd(p, grads, lr, momentum, nesterov, decay):
    """torch.optim.SGD as its documentation writes it."""
    buffer = None
    for g in grads:
        g = g + decay * p
        buffer = g if buffer is None else momentum * buffer + g
        p = p - lr * (g + momentum * buffer if nesterov else buffer)
    return p


def torch_adamw(p, grads, lr, b1, b2, eps, decay):
    """torch.optim.AdamW as its documentation writes it."""
    m = v = np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        p = p - lr * decay * p
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return p


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw"])
def test_updates_equal_torch_for_kernels_and_biases(name):
    rng = np.random.default_rng(0)
    start = {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)}
    grads = [{leaf: rng.normal(size=np.shape(p)) for leaf, p in start.items()} for _ in range(3)]
    settings: dict[str, Any] = {"momentum": 0.7, "nesterov": name == "nesterov"}
    if name == "adamw":
        settings = {"name": "adamw", "b1": 0.8, "b2": 0.95, "eps": 0.01}
    params = {"part": jax.tree.map(jnp.float32, start)}
    optimizer = optim.make(params, ALL, constant(0.1), weight_decay=0.3, **settings)
    after, _, _ = walk(optimizer, params, [{"part": jax.tree.map(jnp.float32, g)} for g in grads])
    for leaf, decay in (("kernel", 0.3), ("bias", 0.0)):
        listed = [g[leaf] for g in grads]
        if name == "adamw":
            expected = torch_adamw(start[leaf], listed, 0.1, 0.8, 0.95, 0.01, decay)
        else:
            expected = torch_sgd(start[leaf], listed, 0.1, 0.7, name == "nesterov", decay)
        assert_allclose(after["part"][leaf], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("groups", "everywhere", "kernels", "others"),
    [
        (ALL, False, 0.2, 0.0),
        (ALL, True, 0.2, 0.2),
        (((".*", {"weight_decay": 0.5}),), False, 0.5, 0.0),
        (((".*", {"weight_decay": 0}),), True, 0.0, 0.0),
    ],
)
def test_weight_decay_skips_norms_and_biases(groups, everywhere, kernels, others):
    leaves = {"part/conv/kernel": kernels, "part/conv/bias": others, "part/bn/scale": others, "part/bn/bias": others}
    params = tree(dict.fromkeys(leaves, vector(1.0)))
    optimizer = optim.make(
        params, groups, constant(1.0), momentum=0.0, weight_decay=0.2, decay_norms_and_biases=everywhere
    )
    after, _, _ = walk(optimizer, params, [tree(dict.fromkeys(leaves, vector(0.0)))])
    for path, leaf in optim.paths(after).items():
        assert_allclose(leaf, [1 - leaves[path]], rtol=1e-6, err_msg=path)


def test_decays_that_differ_late_are_kept_apart():
    params = {"a": {"kernel": vector(1.0)}, "b": {"kernel": vector(1.0)}}
    groups = (("a", {"weight_decay": 0.12345678}), ("b", {"weight_decay": 0.12345}))
    optimizer = optim.make(params, groups, constant(1.0))
    assert optimizer.labels["a/kernel"] != optimizer.labels["b/kernel"]


# --- schedules ----------------------------------------------------------------------------------------------


def test_schedules_at_chosen_steps():
    def rates(name, steps, **settings):
        schedule = optim.make_schedule(name, 2.0, 10, **settings)
        return [float(schedule(jnp.int32(step))) for step in steps]

    assert rates("constant", [0, 5, 10]) == [2, 2, 2]
    # 1 + cos(pi t / 10): whole at 0, half-way at 5, nothing at 10 and behind it
    assert_allclose(rates("cosine", [0, 5, 10, 12]), [2, 1, 0, 0], atol=1e-6)
    # factor 1/2 from steps 3 and 7 on
    assert_allclose(rates("step", [2, 3, 6, 7, 9], boundaries=(0.3, 0.7), factor=0.5), [2, 1, 1, 0.5, 0.5], rtol=1e-6)
    # 2 (1 + .5 t)^-2 at t = 0, 2, 6: 2 / 1, 2 / 4, 2 / 16
    assert_allclose(rates("inverse", [0, 2, 6], gamma=0.5, power=2.0), [2, 0.5, 0.125], rtol=1e-6)
    # four steps up, the first of them not in vain; the cosine spans the six behind them
    warm = rates("cosine", [0, 1, 3, 4, 7, 10], warmup=4)
    assert_allclose(warm, [0.5, 1, 2, 2, 1, 0], atol=1e-6)
    assert_allclose(rates("inverse", [3, 4, 6], warmup=4, gamma=0.5, power=2.0), [2, 2, 0.5], rtol=1e-6)
    # boundaries are shares of the whole run, warm-up included
    assert_allclose(rates("step", [4, 5], warmup=4, boundaries=(0.5,)), [2, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("cosin", {}, ["unknown schedule 'cosin'", "cosine"]),
        ("step", {}, ["schedule.boundaries is ()", "(0.5, 0.75)"]),
        ("step", {"boundaries": (30, 60)}, ["schedule.boundaries is (30, 60)", "shares"]),
    ],
)
def test_bad_schedules_are_named(name, settings, words):
    with pytest.raises(InputError) as error:
        optim.make_schedule(name, 1.0, 10, **settings)
    assert all(word in str(error.value) for word in words), str(error.value)
