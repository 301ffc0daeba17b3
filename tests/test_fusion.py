"""Class prototypes that are entities of a graph, learnt from images and triples together."""

from __future__ import annotations

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import toy_settings
from given import Parts, unit
from numpy.testing import assert_allclose

from tl import build, config, graphs, predictor
from tl.data.sources import open_source
from tl.errors import InputError
from tl.weights import readers


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


def test_a_finished_run_answers_without_its_graph(tmp_path):
    """The rows of its classes lie in its weights: another file, or none, changes no answer."""
    folder = shutil.copytree(toy_settings.HIERARCHY, tmp_path / "graph")
    build.run(fusion(graph__data=f"kg:{folder}", graph__mistakes=False), tmp_path / "w", quiet=True)
    held = np.load(tmp_path / "w" / "predictions.npz")["test/outputs/label"]
    kept = config.from_json((tmp_path / "w" / "config.json").read_text())
    test = open_source(kept.data, seed=kept.seed).splits["test"]
    ask = lambda: predictor.load(tmp_path / "w").outputs(test)["label"]  # noqa: E731
    with open(folder / "train.txt", "a") as file:
        file.write("aardvark\tlikes\tdog\nbee\tlikes\tcar\n")  # of later names the rows are others now
    assert_allclose(ask(), held, atol=1e-5)
    shutil.rmtree(folder)
    assert_allclose(ask(), held, atol=1e-5)
    # A run from before the weights said so has its graph alone.
    flat, meta = readers.read(tmp_path / "w" / "weights.safetensors")
    readers.write(tmp_path / "w" / "weights.safetensors", flat, {k: v for k, v in meta.items() if k != "graph"})
    with pytest.raises(InputError, match="no such file or folder"):
        ask()
    shutil.copytree(toy_settings.HIERARCHY, folder)
    assert_allclose(ask(), held, atol=1e-5)


NO_GRAPH = {"method": "finetune", "method_args": {}, "graph__mistakes": False}


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
        ({"graph__hops": -3}, r"config\.graph\.hops=-3 is too small"),
        ({"graph__data": ""}, r"config\.graph\.data is empty, and config\.graph\.mistakes=True reads it"),
        ({"graph__entities": {**toy.BESIDE["graph__entities"], "3": "dog"}}, "gives 'dog' to the classes '0' and '3'"),
        (NO_GRAPH, r"config\.graph\.hops=2, but the method 'finetune' learns no graph beside images"),
        ({**NO_GRAPH, "graph__hops": 0}, r"config\.graph\.data is read by nothing here: set graph\.mistakes=True"),
        ({**NO_GRAPH, "graph__hops": 0, "graph__data": ""}, r"config\.graph\.entities is read by nothing here"),
    ],
)
def test_what_is_wrong_with_a_graph_is_said(changes, said):
    with pytest.raises(InputError, match=said):
        build.experiment(fusion(**changes))


def test_any_method_measures_mistakes_by_a_graph():
    task = build.experiment(fusion(**{**NO_GRAPH, "graph__hops": 0, "graph__mistakes": True})).tasks["label"]
    assert "mistake_height" in task.metrics(np.eye(10)[:2], np.array([0, 3]))


def test_an_older_config_has_fewer_keys():
    chosen = fusion(**{**NO_GRAPH, "graph__hops": 0, "graph__mistakes": True})
    with chosen.unlocked():
        del chosen.graph["hops"]
    assert "mistake_height" in build.experiment(chosen).tasks["label"].metrics(np.eye(10)[:2], np.array([0, 3]))
    with chosen.unlocked():
        del chosen["graph"]
    assert build.experiment(chosen).tasks
