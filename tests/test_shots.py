"""A run of episodes names images by a few of each class: as it was tested, and with unequal numbers of them."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose
from PIL import Image

from scripts import assess, explain, predict
from tl import build, predictor, shots, tasks
from tl import episodes as maths
from tl.data import transforms
from tl.episodes import Episodes, Shape
from tl.errors import InputError
from tl.methods import matching, nearest_mean, protonet

METHODS = ("protonet", "matching", "relation", "nearest_mean", "maml", "reptile")
TASKS = {"label": tasks.make("label", "classification", ("a", "b"))}
# A shot of the first class and two of the second; the row behind the shot is nothing.
UNEVEN = Shape(way=2, shot=2, query=1, uneven=(1, 2))
ROWS = np.array([[1.0, 0], [9, 9], [1, 1], [0, 4], [0, 6], [0, 2]])
SHOTS, QUERIES = ROWS[[0, 3, 4]], ROWS[[2, 5]]


class Features:
    """A network whose features are its inputs."""

    def features(self, inputs):
        return inputs["image"]


def said(module, shape=UNEVEN, **arguments):
    train = None if module is nearest_mean else Shape(2, 1, 1)
    method = module.make(TASKS, episodes=Episodes(train, shape), **arguments)
    return np.asarray(method.predict(Features(), {"image": jnp.asarray(ROWS)}, ())["label"])[[2, 5]]


def softmax(outputs):
    return np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_the_shots_that_there_are_in_line():
    rows = jnp.arange(6)
    support, _ = maths.parted(rows, UNEVEN)
    assert maths.in_line(support, UNEVEN).tolist() == [[0, 3, 4]]
    assert maths.labels_of_shots(UNEVEN).tolist() == [0, 1, 1]


def test_means_of_unequal_numbers():
    means = np.array([[1.0, 0], [0, 5]])
    wanted = -((QUERIES[:, None] - means[None]) ** 2).sum(axis=-1)
    assert_allclose(said(protonet), wanted, rtol=1e-6)
    short = unit(np.stack([unit(SHOTS)[0], unit(SHOTS)[1:].mean(axis=0)]))
    wanted = -((unit(QUERIES)[:, None] - short[None]) ** 2).sum(axis=-1)
    assert_allclose(softmax(said(nearest_mean)), softmax(wanted), rtol=1e-5)


def test_a_classifier_learns_from_each_shot_alike():
    """One step from the means on three shots: the gradient is the mean over these of (p - y) x."""
    kernel = unit(np.stack([unit(SHOTS)[0], unit(SHOTS)[1:].mean(axis=0)]))
    bias = -(kernel**2).sum(axis=1)
    wrong = softmax(unit(SHOTS) @ (2 * kernel).T + bias) - np.array([[1, 0], [0, 1], [0, 1]])
    kernel, bias = 2 * kernel - 0.5 * wrong.T @ unit(SHOTS) / 3, bias - 0.5 * wrong.mean(axis=0)
    assert_allclose(said(nearest_mean, finetune=1, rate=0.5), unit(QUERIES) @ kernel.T + bias, rtol=1e-5)


def test_attention_over_unequal_numbers():
    attention = softmax(3 * unit(QUERIES) @ unit(SHOTS).T)
    wanted = np.log(np.stack([attention[:, 0], attention[:, 1:].sum(axis=1)], axis=1))
    assert_allclose(said(matching, scale=3.0), wanted, rtol=1e-5)


@pytest.fixture(scope="module", params=METHODS)
def run(request, tmp_path_factory):
    """A run's folder, and its test's first episode as folders of shots and files of queries, in order."""
    name, folder = request.param, tmp_path_factory.mktemp("shots")
    config = toy.toy_config(f"configs/{name}.py", **{**toy.METHODS[name], "steps": 2, "eval_every": 2})
    build.run(config, folder / "run", quiet=True)
    split = build.experiment(config).evals["test"].split
    assert split is not None
    for row in range(4):  # two classes of a shot and a query
        at = folder / ("queries" if row % 2 else f"shots/class {'ab'[row // 2]}")
        at.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.load(row)).save(at / f"{row}.png")
    return name, folder


def test_an_episode_by_files_is_answered_as_in_the_test(run):
    _, folder = run
    held = np.load(folder / "run" / "predictions.npz")["test/outputs/label"][:2]
    loaded = predictor.load(folder / "run", folder / "shots")
    assert loaded.tasks["label"].classes == ("class a", "class b")
    found = loaded.files(sorted((folder / "queries").iterdir()))["label"]
    assert_allclose(found, softmax(held), rtol=1e-4, atol=1e-6)
    many = loaded.files([folder / "queries" / "1.png"] * 37 + [folder / "queries" / "3.png"])["label"]
    assert_allclose(many, found[[0] * 37 + [1]], rtol=1e-4, atol=1e-6)


def test_other_numbers_of_classes_and_shots(run, tmp_path):
    name, folder = run
    rng = np.random.default_rng(0)
    for number, count in enumerate((1, 3, 2)):
        (tmp_path / f"c{number}").mkdir()
        for i in range(count):
            image = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / f"c{number}" / f"{i}.png")
    wrong = {
        "maml": "one of 2 classes cannot tell 3 apart",
        "reptile": "one of 2 classes cannot tell 3 apart",
        "relation": "of which it has learnt 1: give so many of each class, not 1, 3, 2",
    }
    if name in wrong:
        with pytest.raises(InputError, match=wrong[name]):
            predictor.load(folder / "run", tmp_path)
        return
    loaded = predictor.load(folder / "run", tmp_path)
    files = sorted(tmp_path.rglob("*.png"))
    found = loaded.files(files)["label"]
    assert found.shape == (6, 3)
    assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    if name == "protonet":
        features = loaded.net.features({"image": jnp.asarray([prepared(loaded, file) for file in files])})
        means = np.stack([features[:1].mean(axis=0), features[1:4].mean(axis=0), features[4:].mean(axis=0)])
        wanted = -np.square(features[:, None] - means[None]).sum(axis=-1)
        assert_allclose(found, softmax(wanted), rtol=1e-4, atol=1e-6)


def prepared(loaded, file):
    """The image as the network of a run wants it."""
    chain = transforms.compose(transforms.evaluation(loaded.preprocess))
    return chain(np.asarray(Image.open(file)), np.random.default_rng(0))


def test_the_script_names_images_by_the_folders(run, capsys):
    _, folder = run
    flags = ["--workdir", str(folder / "run"), str(folder / "queries"), "--format", "json"]
    assert predict.main([*flags, "--shots", str(folder / "shots")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["probabilities"].keys() for row in rows] == [{"class a", "class b"}] * 2
    assert "--shots FOLDER FILES" in (folder / "run" / "report.html").read_text()
    assert predict.main(flags) == 2
    # Of three scripts one alone has such a flag.
    others = [(explain, [str(folder / "queries"), "--out", str(folder / "page.html")]), (assess, [])]
    found = [capsys.readouterr().err]
    for script, more in others:
        assert script.main(["--workdir", str(folder / "run"), *more]) == 2
        found.append(capsys.readouterr().err)
    assert all("ask it by scripts/predict.py --shots FOLDER, with a folder for each class" in said for said in found)


def test_shots_that_cannot_be(tmp_path):
    def put(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)

    put("one/a/0.png")
    with pytest.raises(InputError, match="holds one class: give a folder for each of two or more"):
        shots.read(tmp_path / "one")
    put("two/a/0.png", "two/b/0.png")
    (tmp_path / "two" / "c").mkdir()
    with pytest.raises(InputError, match="has no image in 'c'"):
        shots.read(tmp_path / "two")
    put("data/train/a/0.png", "data/test/a/0.png")
    with pytest.raises(InputError, match=r"holds .*train.*: name one"):
        shots.read(tmp_path / "data")
    with pytest.raises(InputError, match="no such folder"):
        shots.read(tmp_path / "absent")
    build.run(toy.toy_config(**toy.LENET, steps=1), tmp_path / "run", quiet=True)
    with pytest.raises(InputError, match="knows its own classes, and --shots is for a run of episodes: leave it out"):
        predictor.load(tmp_path / "run", tmp_path / "two")
