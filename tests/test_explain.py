"""Maps of an answer: each method worked by hand in numpy, and what they say of a finished run."""

from __future__ import annotations

import dataclasses
import types
from collections import OrderedDict
from typing import Any

import browser
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose
from PIL import Image
from scipy import stats

from scripts import explain as script
from tl import build, explain, explanations, inputs, predictor
from tl.data import transforms
from tl.errors import InputError


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_grad_cam_by_hand():
    """Score = sum over classes' weights of tanh of the pooled maps: d/dA is the same at every pixel."""
    rng = np.random.default_rng(0)
    maps, kernel = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=5)
    slope = (1 - np.tanh(maps.mean(axis=(1, 2))) ** 2) * kernel / 12  # (2, 5)
    wanted = np.maximum((slope[:, None, None, :] * maps).sum(axis=-1), 0)
    with jax.enable_x64(True):
        found = explain.grad_cam(lambda a: jnp.tanh(a.mean(axis=(1, 2))) @ jnp.asarray(kernel), jnp.asarray(maps))
    assert_allclose(found, wanted, rtol=1e-12)
    assert (wanted == 0).any()


def test_integrated_gradients_by_hand_and_complete():
    """Of w . x squared the path's integral is exact by hand; of any score the shares sum to its difference."""
    rng = np.random.default_rng(0)
    images, baseline, kernel = rng.normal(size=(2, 3, 3, 1)), rng.normal(size=(2, 3, 3, 1)), rng.normal(size=(3, 3, 1))
    way = images - baseline
    begin, end = ((kernel * x).sum(axis=(1, 2, 3)) for x in (baseline, images))
    wanted = way * kernel * (begin + end)[:, None, None, None]  # the mean of 2 (w . x) along the line
    with jax.enable_x64(True):
        weighed = lambda x: (jnp.asarray(kernel)[None] * x).sum(axis=(1, 2, 3))  # noqa: E731
        rows = jnp.asarray(images), jnp.asarray(baseline)
        found = explain.integrated_gradients(lambda x: weighed(x) ** 2, *rows, steps=3)
        assert_allclose(found, wanted, rtol=1e-12)
        other = explain.integrated_gradients(lambda x: jax.nn.sigmoid(weighed(x)), *rows, steps=200)
    assert_allclose(np.asarray(other).sum(axis=(1, 2, 3)), sigmoid(end) - sigmoid(begin), rtol=1e-4)


def test_smoothgrad_by_hand():
    """Of x^3 / 3 the mean gradient is that of (x + noise)^2, with the noise that was drawn."""
    rng = np.random.default_rng(0)
    images, key = rng.normal(size=(2, 3, 3, 1)), jax.random.key(3)
    spread = images.max(axis=(1, 2, 3)) - images.min(axis=(1, 2, 3))
    with jax.enable_x64(True):
        found = explain.smoothgrad(lambda x: (x**3 / 3).sum(axis=(1, 2, 3)), jnp.asarray(images), key, 0.2, samples=4)
        noise = np.array([jax.random.normal(one, images.shape, jnp.float64) for one in jax.random.split(key, 4)])
    wanted = ((images + 0.2 * spread[:, None, None, None] * noise) ** 2).mean(axis=0)
    assert_allclose(found, wanted, rtol=1e-12)


def test_occlusion_by_hand():
    """Squares of 2 at 0, 2 and, at the edge, 3 of five pixels; a pixel has the mean over those that cover it."""
    rng = np.random.default_rng(0)
    images, kernel, fill = rng.normal(size=(2, 5, 5, 3)), rng.normal(size=(5, 5, 3)), 0.3
    total, covered = np.zeros((2, 5, 5)), np.zeros((5, 5))
    for top in (0, 2, 3):
        for left in (0, 2, 3):
            place = slice(top, top + 2), slice(left, left + 2)
            fall = ((images[:, *place] - fill) * kernel[place]).sum(axis=(1, 2, 3))
            total[:, *place] += fall[:, None, None]
            covered[place] += 1
    assert (covered > 1).any()
    with jax.enable_x64(True):
        score = lambda x: (jnp.asarray(kernel)[None] * x).sum(axis=(1, 2, 3))  # noqa: E731
        found = explain.occlusion(score, jnp.asarray(images), 2, 2, fill)
    assert_allclose(found, total / covered, rtol=1e-10, atol=1e-12)


def test_maps_from_0_to_1():
    maps = jnp.asarray([[[2.0, -1.0], [4.0, 0.0]], [[0.0, -1.0], [0.0, 0.0]]])
    assert explain.to_unit(maps).tolist() == [[[0.5, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert explain.strength(jnp.asarray([[[[1.0, -2.0]]]])).tolist() == [[[3.0]]]


def test_nearest_by_cosine():
    features, queries = np.array([[1.0, 0], [10, 10], [0, -2], [3, 0]]), np.array([[2.0, 0], [0, -1]])
    rows, cosines = explain.nearest(features, queries, 2)
    assert rows.tolist() == [[0, 3], [2, 0]]
    assert_allclose(cosines, [[1, 1], [1, 0]], atol=1e-12)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 4, 4)).round(1)  # with ties
    b[2] = 1
    found = explain.rank_correlation(a, b)
    ranks = [(stats.rankdata(a[i]), stats.rankdata(b[i])) for i in range(2)]
    assert_allclose(found[:2], [np.corrcoef(x, y)[0, 1] for x, y in ranks], rtol=1e-10)
    assert found[2] == 0


def test_shuffled_weights_are_the_same_numbers_elsewhere():
    tree = {"a": {"kernel": jnp.arange(64.0).reshape(8, 8)}, "b": jnp.arange(32.0)}
    found = explain.shuffled(tree, jax.random.key(0))
    for old, new in zip(jax.tree.leaves(tree), jax.tree.leaves(found), strict=True):
        assert old.shape == new.shape
        assert (old != new).any()
        assert sorted(old.reshape(-1).tolist()) == sorted(new.reshape(-1).tolist())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that knows the digits, its predictor, and 16 of its test images."""
    folder = tmp_path_factory.mktemp("explain") / "run"
    network = {"model": "lenet", "model_args": {"widths": (8,), "hidden": 24, "dropout": 0.0}}
    size = {"image_size": 16, "resize": 16, "labels_per_class": 0, "batch_size": 64, "steps": 150, "eval_every": 150}
    how = {"optim__name": "adamw", "schedule__lr": 5e-3, "schedule__warmup": 0, "train_transforms": ()}
    config = toy.toy_config("configs/scratch.py", **network, **size, **how)
    summary = build.run(config, folder, quiet=True, report=False)
    assert summary["test/accuracy"] > 0.7
    loaded = predictor.load(folder)
    split = build.experiment(config).evals["test"].split
    assert split is not None
    chain = transforms.compose(transforms.evaluation(loaded.of_images()))
    images = np.stack([chain(split.load(i), np.random.default_rng(0)) for i in range(16)])
    return folder, loaded, jnp.asarray(images)


def maps_of(loaded, method, images, params=None):
    net = loaded.net if params is None else loaded.net.with_params(params)
    return np.asarray(explanations.maps(method, loaded.predict, net, loaded.memory, images, "label"))


@pytest.mark.parametrize("method", explanations.METHODS)
def test_a_map_shows_what_the_network_has_learnt(run, method):
    """Shuffled weights give another map: the sanity check of Adebayo et al., which an edge detector fails."""
    _, loaded, images = run
    found = maps_of(loaded, method, images)
    assert found.ndim == 3
    assert found.min() >= 0
    most = found.max(axis=(1, 2))  # 0 where nothing in an image speaks for the answer
    assert_allclose(most[most > 0], 1, rtol=1e-5)
    assert (most > 0).sum() >= 12
    mixed = explain.shuffled(loaded.net.params, jax.random.key(0))
    drawn = np.ptp(maps_of(loaded, method, images, mixed), axis=(1, 2)) > 0
    assert drawn.sum() >= 12, "blank maps would be unlike any"
    correlation = explain.sanity(
        lambda params: maps_of(loaded, method, images, params), loaded.net.params, jax.random.key(0)
    )
    assert abs(correlation[drawn]).mean() < 0.5, correlation
    edges = lambda params: jnp.abs(jnp.diff(images.astype(jnp.float32).mean(axis=-1), axis=1))  # noqa: E731
    assert explain.sanity(edges, loaded.net.params, jax.random.key(0)).mean() == 1


def test_sizes_of_shares_are_those_of_pixels(run):
    """Why the map of integrated gradients leaves out what speaks against the answer, in place of taking sizes."""
    _, loaded, images = run
    pixels = images.astype(jnp.float32)

    def sizes(params):
        net = loaded.net.with_params(params)
        column = explanations.answered(net.outputs({"image": images})["label"])
        score = explanations.score(loaded.predict, net, (), "label", column)
        return explain.strength(explain.integrated_gradients(score, pixels, jnp.zeros_like(pixels), 10))

    assert explain.sanity(sizes, loaded.net.params, jax.random.key(0)).mean() > 0.7


def test_the_maps_of_a_run_are_those_of_its_outputs(run):
    """Grad-CAM by finite differences of the classifier behind the last map."""
    _, loaded, images = run
    net, images = loaded.net, images[:2]
    assert explanations.spatial_layer(net, 16) == "stage1"
    with jax.enable_x64(True):
        modules = {name: module.clone(dtype="float64") for name, module in net.modules.items()}
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), net.params)
        net = dataclasses.replace(net, modules=modules, params=params)
        values = np.asarray(net.maps({"image": images})["stage1"], np.float64)
        best = np.asarray(net.outputs({"image": images})["label"]).argmax(axis=1)

        def score(a):
            return np.asarray(net.outputs({"map/stage1": jnp.asarray(a)})["label"])[np.arange(2), best]

        weights = np.zeros((2, values.shape[-1]))
        for channel in range(values.shape[-1]):  # the mean over space of the slope, along all pixels at once
            step = np.zeros_like(values)
            step[..., channel] = 1e-4
            weights[:, channel] = (score(values + step) - score(values - step)) / 2e-4
        wanted = np.maximum((weights[:, None, None, :] * values).sum(axis=-1), 0)
        wanted /= wanted.max(axis=(1, 2), keepdims=True)
        found = explanations.maps("grad_cam", loaded.predict, net, (), images, "label")
    assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert_allclose(maps_of(loaded, "grad_cam", images), wanted, rtol=1e-2, atol=1e-4)


def test_what_has_no_map(run):
    _, loaded, images = run
    with pytest.raises(InputError, match="unknown explanation 'gradcam': did you mean grad_cam"):
        maps_of(loaded, "gradcam", images)
    sizes = {"stem": (1, 8, 8, 2), "stage1": (1, 4, 4, 2), "last": (1, 1, 1, 2), "pooled": (1, 2)}
    net: Any = types.SimpleNamespace(
        modules={"head": types.SimpleNamespace(maps=())},
        maps=lambda inputs: OrderedDict((name, jnp.zeros(size)) for name, size in sizes.items()),
    )
    assert explanations.spatial_layer(net, 8) == "stage1"
    net.modules["head"].maps = ("stage1", "pooled")
    assert explanations.spatial_layer(net, 8) == "stage1"
    net.modules["head"].maps = ("stem", "pooled")
    assert explanations.spatial_layer(net, 8) == ""
    with pytest.raises(InputError, match="no map behind which it goes on: take another --method than grad_cam"):
        explanations.maps("grad_cam", loaded.predict, net, (), images, "label")


def pages(paths, folder, out, *flags):
    return script.main(["--workdir", str(folder), *map(str, paths), "--out", str(out), *flags])


def test_a_page_of_some_images(run, tmp_path, capsys):
    """Every method has its page; the nearest training images of a training image begin with itself."""
    folder, _, _ = run
    train = inputs.open_data(predictor.config_of(folder)).splits["train"]
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for i, file in enumerate(files):
        Image.fromarray(train.load(i)).save(file)
    assert pages(files, folder, tmp_path / "page.html", "--nearest", "2") == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("cosine ") == 4
    for i in range(2):
        assert f"cosine 1.000: {train.names[i]}" in page
    for word in ("http://", "https://", "<script"):
        assert word not in page
    for method in explanations.METHODS[1:]:
        assert pages(files, folder, tmp_path / f"{method}.html", "--method", method) == 0
        assert method.replace("_", " ") in (tmp_path / f"{method}.html").read_text()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_in_a_browser(dark, run, tmp_path):
    folder, _, _ = run
    Image.fromarray(inputs.open_data(predictor.config_of(folder)).splits["train"].load(0)).save(tmp_path / "a.png")
    assert pages([tmp_path / "a.png"], folder, tmp_path / "page.html", "--nearest", "2") == 0
    browser.judge(tmp_path / "page.html", dark)


def test_pages_that_cannot_be(run, tmp_path, capsys):
    folder, _, _ = run
    (tmp_path / "a.png").write_bytes(b"")
    for flags, said in (
        (("--method", "gradcam"), "unknown explanation 'gradcam': did you mean grad_cam"),
        (("--task", "colour"), "unknown task 'colour'"),
        ((), "is broken or no picture"),
    ):
        assert pages([tmp_path / "a.png"], folder, tmp_path / "page.html", *flags) == 2
        assert said in capsys.readouterr().err
    assert pages([tmp_path / "b.png"], tmp_path, tmp_path / "page.html") == 2
    assert not (tmp_path / "page.html").exists()
