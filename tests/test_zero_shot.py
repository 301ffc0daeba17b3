"""Hierarchies by hand, and rows of classes never seen by their places in one."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import toy_settings
from given import Parts, unit
from numpy.testing import assert_allclose, assert_array_equal

from tl import build, losses, metrics, zero_shot
from tl.data import graph, hierarchy, rows
from tl.errors import InputError

SOURCE = f"kg:{toy_settings.HIERARCHY}"
TRIPLES = graph.triples_of(SOURCE)
ABOVE = hierarchy.parents(TRIPLES, SOURCE)

# --- the hierarchy -------------------------------------------------------------------------------------------


def test_ancestors_and_the_steps_to_them():
    assert hierarchy.steps_up(ABOVE, "dog") == {"dog": 0, "canine": 1, "carnivore": 2, "animal": 3, "thing": 4}
    two_ways = {"a": {"b", "c"}, "b": {"d"}, "c": {"e"}, "d": {"f"}, "e": {"d"}}
    assert hierarchy.steps_up(two_ways, "a") == {"a": 0, "b": 1, "c": 1, "d": 2, "e": 2, "f": 3}


def test_how_far_apart_classes_are():
    """Heights of the lowest common ancestor: carnivore is 2 above dog and cat, thing 4 above dog and 2 above car."""
    named = {name: name for name in ("dog", "wolf", "cat", "car")}
    heights, paths = hierarchy.apart(ABOVE, named)
    assert_array_equal(heights, [[0, 1, 2, 4], [1, 0, 2, 4], [2, 2, 0, 4], [4, 4, 4, 0]])
    assert_array_equal(paths, [[0, 2, 4, 6], [2, 0, 4, 6], [4, 4, 0, 6], [6, 6, 6, 0]])
    # A wheel has nothing above it: it meets the others in a root, 5 above dog and 1 above wheel.
    heights, paths = hierarchy.apart(ABOVE, {"dog": "dog", "car": "car", "tyre": "wheel"})
    assert_array_equal(heights, [[0, 4, 5], [4, 0, 5], [5, 5, 0]])
    assert_array_equal(paths, [[0, 6, 6], [6, 0, 4], [6, 4, 0]])


def test_severity_by_hand():
    """Two mistakes of three: a dog for a wolf, 1 high over 2 steps, and a car for a cat, 4 high over 6."""
    heights, paths = hierarchy.apart(ABOVE, {name: name for name in ("dog", "wolf", "cat", "car")})
    outputs, labels = np.eye(4)[[0, 0, 3]], np.array([0, 1, 2])
    found = metrics.severity(outputs, labels, heights, paths)
    assert found == {"mistake_height": 2.5, "mistake_path": 4.0, "height": pytest.approx(5 / 3)}
    assert metrics.severity(outputs[:1], labels[:1], heights, paths)["mistake_height"] == 0
    assert np.isnan(list(metrics.severity(outputs * np.nan, labels, heights, paths).values())).all()


def test_what_lies_around_a_class():
    near = hierarchy.around(TRIPLES, ["car"], 1)
    assert set(near) == {
        *(("car", "_hypernym", "vehicle"), ("vehicle", "_hypernym", "thing")),
        *(("dog", "likes", "car"), ("wheel", "part", "car")),
    }
    split, entities, relations = graph.questions(near)
    assert entities == ("car", "dog", "thing", "vehicle", "wheel")
    assert relations == ("_hypernym", "likes", "part", "_hypernym^-1", "likes^-1", "part^-1")
    both = {(*split.load(i).tolist(), int(split.labels["label"][i])) for i in range(len(split))}
    assert {(1, 1, 0), (0, 4, 1)} <= both
    assert len(split) == len(both) == 8


def test_features_have_the_cosines_of_walks():
    names = sorted({name for head, _, tail in TRIPLES for name in (head, tail)})
    linked = np.zeros((len(names), len(names)))
    for head, _, tail in TRIPLES:
        i, j = names.index(head), names.index(tail)
        linked[i, j] = linked[j, i] = 1
    degree = linked.sum(axis=1)
    spread = linked / np.sqrt(np.outer(degree, degree))
    a = hierarchy.RESTART
    terms = [a * (1 - a) ** k * np.linalg.matrix_power(spread, k) for k in range(hierarchy.STEPS + 1)]
    walks = np.sum(terms, axis=0)
    chosen = ["dog", "bus", "thing"]
    own = walks[:, [names.index(name) for name in chosen]]
    own /= np.linalg.norm(own, axis=0)
    found = hierarchy.diffused(TRIPLES, chosen, 3)
    assert_allclose(found @ found.T, own.T @ own, atol=1e-5)
    assert (found[np.abs(found).argmax(axis=0), range(3)] > 0).all()
    assert hierarchy.diffused(TRIPLES, chosen, 2).shape == (3, 2)


# --- rows of classes -----------------------------------------------------------------------------------------

CLASSES = ["dog", "wolf", "cat", "car", "unicorn"]
CLASSIFIER = np.random.default_rng(0).normal(size=(5, 3))


def opened(**changes):
    return rows.open_rows(SOURCE, CLASSIFIER, CLASSES, **{"seen": 2, "unseen": ("wolf",), **changes})


def test_classes_are_rows_by_their_place():
    found = opened(seed=3)
    assert (len(found.splits["train"]), len(found.splits["test"])) == (2, 2)
    assert found.nodes is not None
    whole = {name: (split, i) for split in found.splits.values() for i, name in enumerate(split.names)}
    assert set(whole) == {"dog", "wolf", "cat", "car"}
    assert "wolf" in found.splits["test"].names
    nodes = sorted({up for name in whole for up in hierarchy.steps_up(ABOVE, name)})
    near = {name: split.load(i).reshape(rows.FAR + 1, -1) for name, (split, i) in whole.items()}
    assert near["dog"].shape == (5, len(nodes))
    assert [nodes[int(row.argmax())] for row in near["dog"]] == ["dog", "canine", "carnivore", "animal", "thing"]
    assert_allclose(near["car"].sum(axis=1), [1, 1, 1, 0, 0])
    split, i = whole["cat"]
    assert_allclose(split.labels["label"][i], CLASSIFIER[2] / np.linalg.norm(CLASSIFIER[2]), rtol=1e-6)
    own = hierarchy.diffused(TRIPLES, nodes, rows.WIDTH)
    assert_allclose(found.nodes[0], own, rtol=1e-6)
    below = [own[nodes.index(name)] for name in ("dog", "wolf")]
    assert_allclose(found.nodes[1][nodes.index("canine")], np.mean(below, axis=0), atol=1e-6)
    assert opened(seed=3, val_fraction=0.5).splits.keys() == {"train", "val", "test"}


def test_too_few_classes_are_refused():
    with pytest.raises(InputError, match=r"seen=4, but 4 classes are entities of .* set it to 1..3"):
        opened(seen=4)
    with pytest.raises(InputError, match=r"unknown class in config.zero_shot.unseen 'unicorn'"):
        opened(unseen=("unicorn",))


def test_a_graph_without_a_hierarchy_is_refused():
    source = toy.GRAPH["data"]
    with pytest.raises(InputError, match="has no relation _hypernym or _instance_hypernym"):
        hierarchy.parents(graph.triples_of(source), source)
    with pytest.raises(InputError, match="'digits' is no knowledge graph"):
        graph.triples_of("digits")


def test_retrieval_by_hand():
    """The third output is nearest to the first label, then to its own; the first two are at their own."""
    labels = np.eye(3)
    outputs = np.array([[2.0, 1, 0], [0, 1, 0], [3, 0, 2]])
    found = metrics.retrieval(outputs, labels)
    assert (found["hits1"], found["hits2"], found["median_rank"]) == (pytest.approx(2 / 3), 1, 1)
    assert found["mean_rank"] == pytest.approx(4 / 3)
    assert found["mrr"] == pytest.approx(2.5 / 3)
    assert found["cosine"] == pytest.approx((2 / 5**0.5 + 1 + 2 / 13**0.5) / 3)
    # The second label is level with the third: half a place.
    assert metrics.retrieval(np.array([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]]), labels)["mean_rank"] == pytest.approx(
        3.5 / 3
    )
    assert np.isnan(metrics.retrieval(outputs * np.nan, labels)["hits1"])
    assert_allclose(losses.direction(jnp.array([[0.6, 0.8]]), jnp.array([[1.0, 0.0]])), [0.4], rtol=1e-6)


NODES = np.random.default_rng(1).normal(size=(2, 3, 4))
NEAR = np.random.default_rng(2).uniform(size=(5, 6))
TARGETS = np.random.default_rng(3).normal(size=(5, 4))
TARGETS /= np.linalg.norm(TARGETS, axis=1, keepdims=True)
TASK = build.tasks.make("label", "retrieval", tuple("abcd"))


def test_dense_propagation_by_hand():
    up, down, kernel = np.array([0.3, -1.0]), np.array([0.5, 2.0]), np.random.default_rng(4).normal(size=(4, 4))
    share_up, share_down = (np.exp(x) / np.exp(x).sum() for x in (up, down))
    known = 2.0 * (share_down[0] * NODES[0] + share_down[1] * NODES[1])
    hidden = np.maximum(known @ kernel, 0)
    near = NEAR.reshape(5, 2, 3)
    wanted = unit((share_up[0] * near[:, 0] + share_up[1] * near[:, 1]) @ hidden + 0.1)
    with jax.enable_x64(True):
        net = Parts(
            up=lambda: jnp.array(up),
            down=lambda: jnp.array(down),
            hidden=lambda x: jax.nn.relu(x @ kernel),
            rows=lambda maps: maps["pooled"] + jnp.full((1, 4), 0.1),
        )
        method = build.find_method("dgp").make({"label": TASK}, hidden=4, scale=2.0, nodes=NODES)
        batch = {"train": {"image": jnp.array(NEAR), "label": jnp.array(TARGETS)}}
        assert_allclose(method.predict(net, batch["train"], ())["label"], wanted, rtol=1e-10)
        value, _ = method.steps[0][0](net, batch, (), jax.random.key(0), jnp.zeros(()))
        assert_allclose(value, (1 - (wanted * TARGETS).sum(axis=1)).mean(), rtol=1e-10)


@pytest.mark.parametrize("arguments", [{"neighbours": 2}, {"ridge": 0.7}])
def test_rows_of_the_nearest_by_hand(arguments):
    own = unit(NEAR.reshape(5, 2, 3)[:, 0] @ NODES[0])
    known, asked = own[:4], own[4:]
    alike = asked @ known.T
    if "ridge" in arguments:
        mean = TARGETS[:4].mean(axis=0)
        solved = np.linalg.inv(known @ known.T + 0.7 * np.eye(4)) @ (TARGETS[:4] - mean)
        wanted = unit(mean + alike @ solved)
    else:
        wanted = unit(TARGETS[:4][np.argsort(-alike[0])[:2]].mean(axis=0))[None]
    with jax.enable_x64(True):
        method = build.find_method("nearest_rows").make({"label": TASK}, nodes=NODES, **arguments)
        mask = np.array([True, True, True, True, False])  # the last row only fills the batch up
        batches = [{"image": jnp.array(NEAR), "label": jnp.array(TARGETS), "mask": mask}]
        assert method.ready is not None
        memory = method.ready(Parts(), (), {"train": batches})
        found = method.predict(Parts(), {"image": jnp.array(NEAR[4:])}, memory)["label"]
        assert_allclose(found, wanted, rtol=1e-9)


def test_figures_of_images_by_hand():
    """Two features and a bias; rows 0 and 2 of three unseen ones are the images' classes, one row is seen."""
    predicted, seen = np.array([[1.0, 0, 0], [0, 0, 1], [0, 2, 0]]), np.array([[3.0, 4, 0]])
    features, labels, true = np.array([[2.0, 0], [0, 3], [0.5, 0.8]]), np.array([0, 1, 0]), np.array([0, 2])
    # Scores (2, 1, 0 | 1.2), (0, 1, 3 | 2.4) and (.5, 1, .8 | .94): the last one's own row is behind all others.
    found = zero_shot.figures(features, labels, predicted, seen, true)
    two = pytest.approx(2 / 3)
    assert found["accuracy"] == two
    assert [found[f"hits{most}"] for most in (1, 2, 5)] == [two, two, 1]
    assert [found[f"all_hits{most}"] for most in (1, 2, 5)] == [two, two, 1]
    assert zero_shot.figures(features, labels, predicted, 9 * seen, true) == found
    same = zero_shot.figures(features, labels, np.ones((3, 3)), np.ones((1, 3)), true)  # all four rows tie
    assert same["accuracy"] == 0.5
    assert (same["hits1"], same["hits2"], same["all_hits2"], same["all_hits5"]) == (0, 1, 0, 1)
    assert np.isnan(list(zero_shot.figures(features, labels, predicted * np.nan, seen, true).values())).all()


# --- runs that predict rows ----------------------------------------------------------------------------------


def unseen_rows(**changes):
    return toy.toy_config("configs/dgp.py", **{**toy.METHODS["dgp"], **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "finetune", "method_args": {}, "task": "regression"}, "'finetune' do not go together"),
        ({"zero_shot__weights": ""}, "do not go together"),
        ({"zero_shot__names": "/nowhere"}, "no such file: '/nowhere'"),
        ({"zero_shot__seen": 6}, "seen=6, but 6 classes"),
        ({"task": "regression"}, "set config.task='retrieval'"),
        ({"labels_per_class": 1}, r"config\.labels_per_class=1 does not go with config\.zero_shot"),
        ({"folds": 3, "fold": 0}, r"config\.folds=3 does not go with"),
        ({"fold": 0}, r"config\.fold=0 does not go with"),
        ({"target": "digits"}, r"config\.target='digits' does not go with"),
        ({"unlabelled": True}, r"config\.unlabelled=True does not go with"),
        ({"transferability": True}, r"config\.transferability=True does not go with"),
        ({"class_weights": "balanced"}, r"config\.class_weights='balanced' does not go with"),
        ({"episode__way": 2}, r"config\.episode\.way=2 does not go with"),
    ],
)
def test_what_is_wrong_with_rows_is_said(changes, said):
    with pytest.raises(InputError, match=said):
        build.experiment(unseen_rows(**changes))


def test_names_and_outputs_must_agree(tmp_path):
    (tmp_path / "names.json").write_text(json.dumps(["ndog", "ncat"]))
    with pytest.raises(InputError, match=r"names 2 classes, and the classifier of .* has 7 outputs"):
        zero_shot.classifier(unseen_rows(zero_shot__names=str(tmp_path / "names.json")))
    for content, message in (("[1,", "is no JSON .*: write a list of WordNet ids"), ("{}", "holds no list")):
        (tmp_path / "names.json").write_text(content)
        with pytest.raises(InputError, match=message):
            zero_shot.classifier(unseen_rows(zero_shot__names=str(tmp_path / "names.json")))
    (tmp_path / "names.json").write_text(json.dumps(["n1", "n2", "n3", "n4", "n5", "n6"]))
    found, names = zero_shot.classifier(unseen_rows(zero_shot__names=str(tmp_path / "names.json")))
    whole, _ = zero_shot.classifier(unseen_rows())
    assert names == list("123456")
    assert_array_equal(found, whole[1:])  # the first of seven is background
