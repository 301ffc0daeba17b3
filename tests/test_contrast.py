"""Contrastive terms against numbers worked by hand, and the queues that hold keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl import contrast, optim


def test_like_keys_share_a_softmax_over_all_keys():
    """One anchor, own key 1, class 0 holds 2 and a place that is empty, class 1 holds 3 and 0."""
    own = jnp.array([1.0])
    others = jnp.array([[[2.0, 99.0], [3.0, 0.0]]])
    held = jnp.array([[True, False], [True, True]])
    total = np.log(np.exp([1.0, 2.0, 3.0, 0.0]).sum())
    found = contrast.of_class(own, others, held, jnp.array([0]))
    np.testing.assert_allclose(found, [total - (1 + 2) / 2], rtol=1e-6)
    found = contrast.of_class(own, others, held, jnp.array([1]))
    np.testing.assert_allclose(found, [total - (1 + 3 + 0) / 3], rtol=1e-6)


def test_an_empty_queue_asks_for_nothing():
    own, others = jnp.array([0.3]), jnp.zeros((1, 2, 3))
    value, slope = jax.value_and_grad(
        lambda x: contrast.of_class(x, others, jnp.zeros((2, 3), bool), jnp.zeros(1, int))[0]
    )(own)
    assert value == 0
    assert slope == 0


def test_keys_take_the_place_of_the_oldest_of_their_class():
    keys, count = jnp.zeros((2, 2, 1)), jnp.array([0, 0])
    keys, count = contrast.enqueue(keys, count, jnp.array([[1.0], [2.0], [3.0]]), jnp.array([0, 1, 0]))
    np.testing.assert_array_equal(keys[:, :, 0], [[1, 3], [2, 0]])
    np.testing.assert_array_equal(count, [2, 1])
    keys, count = contrast.enqueue(keys, count, jnp.array([[4.0]]), jnp.array([0]))
    np.testing.assert_array_equal(keys[:, :, 0], [[4, 3], [2, 0]])
    # Three of a class of which two have room: the last two stay.
    keys, count = contrast.enqueue(keys, count, jnp.array([[5.0], [6.0], [7.0]]), jnp.array([1, 1, 1]))
    np.testing.assert_array_equal(keys[:, :, 0], [[4, 3], [6, 7]])
    np.testing.assert_array_equal(count, [3, 4])


def test_rows_of_length_one_and_of_nothing():
    rows = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(contrast.unit(rows), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(jax.jacobian(contrast.unit)(rows)).all()


def test_bi_tuning_keeps_keys_of_the_slow_network(toy_bi_tuning):
    before, after = toy_bi_tuning
    rows = 16
    assert before.memory["count"].sum() == 0
    assert after.memory["count"].sum() == rows
    lengths = np.linalg.norm(after.memory["projected"], axis=-1)
    held = np.arange(3) < after.memory["count"][:, None]
    np.testing.assert_allclose(lengths[held], 1, rtol=1e-5)
    assert (lengths[~held] == 0).all()
    slow, fast, start = (tree["projector"]["kernel"] for tree in (after.memory["params"], after.params, before.params))
    np.testing.assert_allclose(slow, 0.9 * start + 0.1 * fast, rtol=1e-5, atol=1e-7)
    # It follows the network as it runs, with the low-rank change added to its kernels.
    assert not any("lora" in path for path in optim.paths(after.memory["params"]))


@pytest.fixture
def toy_bi_tuning():
    import toy

    chosen = toy.toy_config("configs/bi_tuning.py", **toy.METHODS["bi_tuning"], lora__rank=2)
    work = toy.Steps(chosen, devices=1)
    before = work.host()
    work.run(1)
    return before, work.host()
