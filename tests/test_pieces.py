"""Rows few at a time: the same answers, and sentences without most of their padding."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tl import models, pieces
from tl.mesh import make_mesh
from tl.models.layers import Mode
from tl.text import PADDING

ONE = make_mesh(jax.devices()[:1])
NETWORKS = {
    "bert": {"vocabulary": 9, "width": 8, "layers": 2, "heads": 2, "hidden": 12, "positions": 20},
    "textcnn": {"vocabulary": 9, "width": 6, "sizes": (2, 3), "features": 4},
    "lstm": {"vocabulary": 9, "width": 6},
}


def sentences(count: int, length: int) -> np.ndarray:
    """Tokens of sentences of every length, in no order; one is nothing but padding, as what fills up a batch."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(1, 9, (count, length)).astype(np.int32)
    ends = rng.permutation(np.resize(np.arange(1, length + 1), count))
    tokens = np.where(np.arange(length)[None] < ends[:, None], tokens, PADDING)
    tokens[5] = PADDING
    return tokens


@pytest.mark.parametrize("name", NETWORKS)
def test_sentences_by_length_give_what_all_of_them_give(name: str) -> None:
    network = models.make(name, **NETWORKS[name])
    tokens = sentences(64, 18)
    variables = jax.jit(lambda: network.init(jax.random.key(0), tokens, mode=Mode()))()
    traced = []

    def answer(rows: Any) -> Any:
        traced.append(rows["tokens"].shape)
        maps: Any = network.apply(variables, rows["tokens"], mode=Mode())
        return {**maps, "index": rows["index"]}

    batch = {"tokens": jnp.asarray(tokens), "index": jnp.arange(64)}
    got = jax.jit(lambda rows: pieces.in_pieces(answer, rows, ONE))(batch)
    assert {shape[1] for shape in traced} == {5, 9, 14, 18}
    assert {shape[0] for shape in traced} == {pieces.SENTENCES}
    wanted = jax.jit(answer)(batch)
    real = np.arange(64) != 5
    assert list(got) == list(wanted)
    for field, rows in wanted.items():
        assert_allclose(np.asarray(got[field])[real], np.asarray(rows)[real], rtol=1e-5, atol=1e-5, err_msg=field)


def test_several_devices_and_episodes_take_all_at_once() -> None:
    """Sorting would move rows between devices, and an episode's rows belong together."""
    batch = {"tokens": jnp.asarray(sentences(16, 6))}
    seen = []

    def answer(rows: Any) -> Any:
        seen.append(rows["tokens"].shape)
        return rows["tokens"].sum(axis=1)

    pieces.in_pieces(answer, batch, make_mesh())
    pieces.in_pieces(answer, batch, ONE, whole=4)
    assert seen == [(16, 6), (16, 6)]


def test_images_few_at_a_time() -> None:
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (12, 448, 448, 1), np.uint8))
    seen = []

    def mean(rows: Any) -> Any:
        seen.append(rows["image"].shape[0])
        return rows["image"].astype(jnp.float32).mean(axis=(1, 2, 3))

    for whole, most in ((1, 2), (3, 3)):
        got = jax.jit(lambda rows, whole=whole: pieces.in_pieces(mean, rows, ONE, whole))({"image": images})
        assert {*seen} == {most}
        assert_allclose(got, np.asarray(images).mean(axis=(1, 2, 3)), rtol=1e-5)
        seen.clear()
