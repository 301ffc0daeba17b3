"""Data cut by classes, episodes drawn from it, Omniglot's files, and what an evaluation of episodes says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import toy

from tl import build, inputs, predictor, tasks
from tl.data import episodes, omniglot, sources
from tl.data.base import Dataset, from_array
from tl.episodes import Shape
from tl.errors import InputError
from tl.evaluators.figures import figures

SHAPE = Shape(way=3, shot=2, query=1)
LABELS = np.arange(60) % 6
KEYS = ("way", "query")


def dataset(classes: int = 6, each: int = 4) -> Dataset:
    """Images of 2 x 2 pixels, of which the first is 10 times the class and the second the number within it."""
    labels = np.repeat(np.arange(classes, dtype=np.int32), each)
    images = np.zeros((len(labels), 2, 2), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = 10 * labels, np.tile(np.arange(each), classes)
    return Dataset({"train": from_array(images, labels, "x")}, tuple(f"k{c % 2}/c{c}" for c in range(classes)), "f")


def test_an_episode_holds_different_images_of_its_classes_in_order():
    order = episodes.Endless(LABELS, SHAPE, seed=1, name="train")
    rows = order.rows(0, 5 * SHAPE.rows).reshape(5, 3, 3)
    for episode in rows:
        assert len(set(episode.ravel().tolist())) == 9
        assert len(set(LABELS[episode[:, 0]])) == 3
        assert (LABELS[episode] == LABELS[episode[:, :1]]).all()
    assert [order[i] for i in range(9, 18)] == rows[1].ravel().tolist()
    np.testing.assert_array_equal(order.rows(13, 31), rows.ravel()[13:31])
    again = episodes.Endless(LABELS, SHAPE, seed=1, name="train").rows(0, 45)
    np.testing.assert_array_equal(again, rows.ravel())
    for other in ({"seed": 2, "name": "train"}, {"seed": 1, "name": "val"}):
        assert (episodes.Endless(LABELS, SHAPE, **other).rows(0, 45) != rows.ravel()).any()


def test_classes_of_an_episode_may_have_to_be_of_one_kind():
    found = episodes.cut(dataset(classes=12), (8, 2, 2), rotations=True)
    order = episodes.endless(found.splits["train"], Shape(2, 1, 1), 0, "train", "/", found.classes, KEYS)
    labels = found.splits["train"].labels["label"]
    for number in range(20):
        names = [found.classes[c] for c in labels[order.episode(number)]]
        assert len({(name.partition("/")[0], name.partition("@")[2]) for name in names}) == 1


def test_kinds_are_cut_whole_and_episodes_of_test_are_of_one():
    """Six alphabets of two characters: two train, two validate, two test, and none is in two."""
    labels = np.repeat(np.arange(12, dtype=np.int32), 3)
    images = np.repeat(labels.astype(np.uint8)[:, None, None], 4, axis=1).repeat(4, axis=2)
    whole = Dataset({"train": from_array(images, labels, "x")}, tuple(f"k{c // 2}/c{c}" for c in range(12)), "f")
    found = episodes.cut(whole, (2, 2, 2), rotations=False, within="/")
    kinds = {name: {one.partition("/")[0] for one in held} for name, held in found.named.items()}
    assert [len(kinds[name]) for name in ("train", "val", "test")] == [2, 2, 2]
    assert len(set.union(*kinds.values())) == 6
    test = found.splits["test"]
    order = episodes.endless(test, Shape(2, 1, 1), 0, "test", "/", found.named["test"], KEYS)
    for number in range(10):
        rows = order.episode(number)
        assert len({found.named["test"][c].partition("/")[0] for c in test.labels["label"][rows]}) == 1
        assert len({int(test.load(int(row))[0, 0, 0]) // 2 for row in rows}) == 1  # the pixels say so, too
    own = {"train": whole.splits["train"].take(np.arange(18)), "test": whole.splits["train"].take(np.arange(18, 36))}
    assert episodes.cut(dataclasses.replace(whole, splits=own), (), False, "/").splits.keys() == {"train", "test"}
    halves = episodes.cut(dataclasses.replace(whole, splits=own), (), False, "/", share=0.5)
    assert halves.splits.keys() == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("shape", "groups", "said"),
    [
        (Shape(7, 1, 1), None, r"config.episode.way=7 classes needs as many, and 'train' has 6 of them"),
        (Shape(4, 1, 1), LABELS % 2, r"'train' has 3 of one kind"),
        (Shape(3, 5, 6), None, r"takes 5 \+ 6 images of a class .* and a class of 'train' has 10"),
    ],
)
def test_episodes_that_cannot_be(shape, groups, said):
    with pytest.raises(InputError, match=said):
        episodes.Endless(LABELS, shape, 0, "train", groups)
    with pytest.raises(InputError, match=r"config\.episode\.(train_way=|shot and train_query)"):
        episodes.Endless(LABELS, shape, 0, "train", groups, keys=("train_way", "shot", "train_query"))


def test_no_class_is_in_two_parts_and_the_cut_is_the_same_for_every_seed():
    found = episodes.cut(dataset(), (3, 1, 2), rotations=False)
    held = {name: {int(split.load(i)[0, 0, 0]) for i in range(len(split))} for name, split in found.splits.items()}
    assert [len(held[name]) for name in ("train", "val", "test")] == [3, 1, 2]
    assert len(held["train"] | held["val"] | held["test"]) == 6
    train = found.splits["train"]
    for i in range(len(train)):
        assert found.classes[train.labels["label"][i]].endswith(f"c{train.load(i)[0, 0, 0] // 10}")
    config = toy.toy_config("configs/protonet.py", **toy.METHODS["protonet"], seed=3)
    other = toy.toy_config("configs/protonet.py", **toy.METHODS["protonet"], seed=4)
    assert inputs.open_data(config).classes == inputs.open_data(other).classes


def test_sources_whose_splits_share_no_class_keep_them():
    own = dataset()
    halves = [np.flatnonzero((own.splits["train"].labels["label"] < 4) == first) for first in (True, False)]
    parts = {name: own.splits["train"].take(rows) for name, rows in zip(("train", "test"), halves, strict=True)}
    found = episodes.cut(dataclasses.replace(own, splits=parts), (), rotations=False)
    assert {int(found.splits["test"].load(i)[0, 0, 0]) for i in range(len(found.splits["test"]))} == {40, 50}
    assert [len(found.splits[name]) for name in ("train", "val", "test")] == [12, 4, 8]
    whole = episodes.cut(dataclasses.replace(own, splits=parts), (), rotations=False, share=0.0)
    assert {name: len(split) for name, split in whole.splits.items()} == {"train": 16, "test": 8}
    thirds = [own.splits["train"].take(np.arange(8 * i, 8 * i + 8)) for i in range(3)]
    parts = dict(zip(("train", "val", "test"), thirds, strict=True))
    found = episodes.cut(dataclasses.replace(own, splits=parts), (), rotations=False)
    assert {int(found.splits["val"].load(i)[0, 0, 0]) for i in range(8)} == {20, 30}


def test_a_turned_image_is_of_another_class():
    found = episodes.cut(dataset(), (4, 1, 1), rotations=True)
    train = found.splits["train"]
    assert (len(train), len(found.classes)) == (4 * 16, 16)
    for turn in range(4):
        np.testing.assert_array_equal(train.load(turn * 16 + 5), np.rot90(train.load(5), turn))
        assert train.labels["label"][turn * 16 + 5] == train.labels["label"][5] + 4 * turn
    assert found.classes[4].endswith("@90")


@pytest.mark.parametrize("counts", [(1, 2), (3, 0, 1), (4, 2, 1)])
def test_counts_of_classes_that_cannot_be(counts):
    with pytest.raises(InputError, match=r"must be three numbers of classes, in all at most 6"):
        episodes.cut(dataset(), counts, rotations=False)
    with pytest.raises(InputError, match=r"4 classes are too few to be cut"):
        episodes.cut(dataset(classes=4), (), rotations=False)


def drawings(count: int) -> np.ndarray:
    """Packed 105 x 105 pixels, number i with a square of ink that is 28 + i wide."""
    pixels = np.zeros((count, 105, 105), np.uint8)
    for i in range(count):
        pixels[i, : 28 + i, : 28 + i] = 1
    return np.packbits(pixels.reshape(count, -1), axis=1)


def test_omniglot_as_it_is_stored(tmp_path):
    path, arrays = tmp_path / "omniglot.npz", {}
    for part, names in (("background", ["A/1", "A/2", "B/1"]), ("evaluation", ["C/1"])):
        arrays |= {f"x_{part}": drawings(2 * len(names)), f"y_{part}": np.repeat(np.arange(len(names)), 2)}
        arrays[f"class_names_{part}"] = np.array(names)
    np.savez(path, allow_pickle=False, **arrays)
    found = sources.open_whole(f"omniglot:{path}")
    assert found.classes == ("A/1", "A/2", "B/1", "C/1")
    assert found.splits["test"].labels["label"].tolist() == [3, 3]
    image = found.splits["train"].load(0)
    assert image.shape == (28, 28, 3)
    assert (image[:7, :7] == 255).all()
    assert (image[9:] == 0).all()
    some = sources.open_whole(f"omniglot:{path}#B")
    assert some.classes == ("B/1", "C/1")
    assert some.splits["train"].labels["label"].tolist() == [0, 0]
    np.testing.assert_array_equal(some.splits["train"].load(1), found.splits["train"].load(5))
    for spec, said in ((f"{path}#Z", "no background alphabet 'Z': it has A, B"), (tmp_path, "no such file")):
        with pytest.raises(InputError, match=said):
            sources.open_whole(f"omniglot:{spec}")


def test_lakes_runs_are_episodes_with_each_query_behind_its_shot(tmp_path):
    path = tmp_path / "runs.npz"
    answer = np.stack([np.random.default_rng(run).permutation(20) for run in range(2)])
    shots = np.stack([drawings(20)] * 2)
    queries = np.take_along_axis(shots, answer[:, :, None], axis=1)  # test j shows what train answer[j] does
    np.savez(path, allow_pickle=False, train=shots, test=queries, answer=answer)
    found = omniglot.runs(str(path))
    assert len(found) == 2 * 40
    for i in range(0, 80, 2):
        np.testing.assert_array_equal(found.load(i), found.load(i + 1))
    assert found.labels["label"].tolist() == np.tile(np.repeat(np.arange(20), 2), 2).tolist()
    assert found.labels["query"].tolist() == [False, True] * 40
    changes = {
        "episode__way": 20,
        "episode__query": 1,
        "episode__test": f"omniglot_runs:{path}",
        "episode__train_way": 2,
    }
    sizes = {"batch_size": 16, "eval_batch_size": 40, "data": "glyphs"}
    held = inputs.open_data(toy.toy_config("configs/protonet.py", **{**toy.EPISODES, **changes, **sizes}))
    assert len(held.splits["test"]) == 80
    with pytest.raises(InputError, match=r"80 images of train are those that config\.episode\.test asks about"):
        omniglot.check_unknown(found, dataclasses.replace(held, splits={"train": found}))


def test_episodes_of_training_may_have_another_shape():
    changes = {"train_way": 3, "train_shot": 2, "train_query": 4}
    sizes = {"batch_size": 3 * 6 * 2, "eval_batch_size": 2 * 2}
    chosen = toy.toy_config(
        "configs/protonet.py",
        **{**toy.EPISODES, **sizes, **{f"episode__{key}": value for key, value in changes.items()}},
    )
    found = inputs.episodes_of(chosen)
    assert found
    assert (found.train, found.test) == (Shape(3, 2, 4), Shape(2, 1, 1))


def test_the_interval_is_over_episodes():
    task = tasks.make("label", "classification", ("a", "b"))
    outputs = np.array([[2.0, 0], [0, 2], [2, 0], [2, 0], [0, 2], [0, 2]])
    table = {"outputs/label": outputs, "label": np.array([0, 1, 0, 1, 1, 1]), "episode": np.array([0, 0, 1, 1, 2, 2])}
    found = figures({"test": table}, {"label": task})
    assert found["test/accuracy"] == pytest.approx(5 / 6)
    assert found["test/ci95"] == pytest.approx(1.96 * np.std([1, 0.5, 1], ddof=1) / np.sqrt(3))


def refused(said: str, **changes: Any) -> None:
    with pytest.raises(InputError, match=said):
        build.experiment(toy.toy_config("configs/protonet.py", **{**toy.EPISODES, **changes}))


def test_configs_that_cannot_be():
    refused(
        r"config.batch_size=24 holds no whole number of episodes of 2 x \(1 \+ 9\) images",
        batch_size=24,
        episode__query=9,
    )
    refused(r"config.episode.count=0 is too small", episode__count=0)
    refused(r"config.labels_per_class=4 does not go with episodes", labels_per_class=4)
    refused(r"'protonet' learns from episodes: set config.episode.batch", episode__batch=0)
    refused(r"the method 'finetune' learns from none", method="finetune")
    refused(r"omniglot_runs:FILE, of episodes with way=20", episode__test="omniglot_runs:F")
    refused(r"adapts one head to every episode", method="maml", episode__train_way=4)
    refused(r"config.cached_views goes through images in turn", cached_views=2)
    refused(r"config.accumulate=2 would cut episodes apart", accumulate=2)
    refused(r"config.label_smoothing and class_weights are about known classes", label_smoothing=0.1)
    with pytest.raises(InputError, match="the method 'protonet' learns from episodes"):
        build.experiment(toy.toy_config(method="protonet"))
    with pytest.raises(InputError, match="without batch norm"):
        toy.Steps(toy.toy_config("configs/maml.py", **toy.EPISODES))


def test_a_run_is_tested_on_classes_it_has_not_seen(tmp_path):
    changes = {**toy.METHODS["nearest_mean"], "steps": 6, "eval_every": 6}
    summary = build.run(toy.toy_config("configs/nearest_mean.py", **changes), tmp_path / "run", quiet=True)
    assert 0 < summary["test/ci95"] < 1
    table = np.load(tmp_path / "run" / "predictions.npz")
    assert table["test/outputs/label"].shape == (40, 2)
    assert "class 2" in (tmp_path / "run" / "report.html").read_text()
    with pytest.raises(InputError, match="tells new classes apart by some images of each"):
        predictor.load(tmp_path / "run")


def test_cached_features_of_episodes_keep_their_shots(tmp_path):
    changes = {**toy.METHODS["nearest_mean"], "steps": 40, "eval_every": 40, "train_transforms": ()}
    frozen = {**changes, "groups": (("head", {}), (".*", None))}
    found = [
        build.run(
            toy.toy_config("configs/nearest_mean.py", **frozen, recompute_frozen=again),
            tmp_path / str(again),
            quiet=True,
        )
        for again in (False, True)
    ]
    for name in ("val/accuracy", "val/loss", "test/loss"):
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-5)
