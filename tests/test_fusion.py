"""Class prototypes that are entities of a graph, learnt from images and triples together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from given import Parts, unit
from numpy.testing import assert_allclose

from tl import build, graphs
from tl.errors import InputError


def test_the_loss_of_both_by_hand():
    rng = np.random.default_rng(5)
    entities, relations, projected = rng.normal(size=(64, 4)), rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    labels, triples, answers = np.array([0, 1, 0]), np.array([[0, 1], [2, 5]]), np.array([4, 1])
    about = graphs.Graph(entities=5, relations=6, classes=(3, 1))
    task = build.tasks.make("label", "classification", ("a", "b"))
    scores = unit(projected) @ unit(entities[[3, 1]]).T / 0.5

    def cross(rows, wanted):
        return np.mean([np.log(np.exp(row).sum()) - row[i] for row, i in zip(rows, wanted, strict=True)])

    def number(x):
        return x[..., :2] + 1j * x[..., 2:]

    asked = number(entities)[triples[:, 0]] * number(relations)[triples[:, 1]]
    links = (asked[:, None] * number(entities)[None, :5].conj()).sum(axis=2).real
    with jax.enable_x64(True):
        table, between = jnp.array(entities), jnp.array(relations)
        net = Parts(
            entities=lambda rows=None: table if rows is None else table[rows],
            relations=lambda rows: between[rows],
            projection=lambda x: jnp.array(projected),
        )
        made = build.find_method("fusion").make({"label": task}, rank=2, weight=0.3, temperature=0.5, graph=about)
        batch = {
            "train": {"image": jnp.zeros((3, 2)), "label": jnp.array(labels)},
            "triples": {"triple": jnp.array(triples), "label": jnp.array(answers)},
        }
        value, said = made.steps[0][0](net, batch, (), jax.random.key(0), jnp.zeros(()))
        assert_allclose(made.predict(net, batch["train"], ())["label"], scores, rtol=1e-10)
        assert_allclose(said["loss_triples"], cross(links, answers), rtol=1e-10)
        assert_allclose(value, cross(scores, labels) + 0.3 * cross(links, answers), rtol=1e-10)


def fusion(**changes):
    base = {**toy.METHODS["fusion"], "train_transforms": (), "graph__mistakes": True}
    return toy.toy_config("configs/fusion.py", **{**base, **changes})


def test_cached_maps_and_triples_go_together(tmp_path):
    """A frozen backbone is run once, beside a stream that does not go through it: the same run as without."""
    frozen = {"groups": (("backbone", None), (".*", {}))}
    summary = build.run(fusion(**frozen), tmp_path / "cached", quiet=True)
    plain = build.run(fusion(**frozen, recompute_frozen=True), tmp_path / "plain", quiet=True)
    assert summary["test/loss"] == pytest.approx(plain["test/loss"], rel=1e-5)
    assert 0 < summary["test/height"] <= summary["test/mistake_height"] <= 5
    assert (tmp_path / "cached" / "report.html").is_file()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"graph__entities": {"0": "dog"}}, "names no entity for the class '1'"),
        ({"graph__entities": {**toy.BESIDE["graph__entities"], "3": "dgo"}}, r"for the class '3' 'dgo'.*dog"),
        (
            {"graph__data": toy.GRAPH["data"], "graph__entities": {str(i): f"e0{i}" for i in range(10)}},
            "has no relation _hypernym",
        ),
        ({"graph__hops": 0}, "'fusion' learns a graph beside images: set config.graph.data"),
        ({"zero_shot__weights": toy.OLD}, "config.zero_shot"),
    ],
)
def test_what_is_wrong_with_a_graph_is_said(changes, said):
    with pytest.raises(InputError, match=said):
        build.experiment(fusion(**changes))
