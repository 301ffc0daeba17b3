"""Answers averaged over views of an image: what they are, and the same wherever a run is asked."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from tl import build, inputs, predictor, train, views
from tl.errors import InputError

ALL = ("flip", "zoom", "zoom_flip")


def test_what_they_show():
    image = np.zeros((1, 16, 32, 1), np.float32) + np.arange(32, dtype=np.float32)[None, None, :, None]
    np.testing.assert_array_equal(views.VIEWS["flip"](image)[0, 0, :, 0], np.arange(32)[::-1])
    zoomed = views.VIEWS["zoom"](jnp.asarray(image))
    assert zoomed.shape == image.shape
    # Pixel i's middle, i + 1/2 of 32, lies at 2 + (i + 1/2) 28 / 32 before.
    np.testing.assert_allclose(zoomed[0, 3, 1:-1, 0], 1.5 + (np.arange(1, 31) + 0.5) * 28 / 32, atol=1e-4)
    np.testing.assert_array_equal(views.VIEWS["zoom_flip"](jnp.asarray(image)), zoomed[:, :, ::-1])


def test_the_mean_of_what_is_said():
    """Of images, and of maps that were kept of their views; features stay those of the image."""
    rows = {"image": jnp.arange(12.0).reshape(2, 2, 3, 1), "index": jnp.arange(2)}
    left = lambda net, rows, memory: {"label": rows["image"][:, 0, 0]}  # noqa: E731
    said = views.averaged(left, ("flip",))(None, rows, ())["label"]
    np.testing.assert_array_equal(said[:, 0], [1.0, 7.0])
    assert views.averaged(left, ()) is left
    held = {"map/pooled": jnp.ones((2, 3)), "map/pooled@flip": jnp.full((2, 3), 5.0), "index": jnp.arange(2)}
    asked = []

    def of_map(net, rows, memory):
        asked.append(sorted(rows))
        return {"label": rows["map/pooled"][:, :1]}

    assert views.averaged(of_map, ("flip",))(None, held, ())["label"][0, 0] == 3.0
    assert asked[0] == ["index", "map/pooled"]


def test_kept_maps_of_views_serve_as_the_images_do(tmp_path):
    """To 1e-9 in float64, on eight devices; and the answers are not those of the image alone."""
    said, scores = {}, {}
    with jax.enable_x64(True):
        for name, changes in (
            ("kept", {}),
            ("images", {"recompute_frozen": True}),
            ("alone", {"eval_views": ()}),
        ):
            settings = {"train_transforms": (), "steps": 10, "dtype": "float64", "eval_views": ALL, **changes}
            with train.start(
                build.experiment(toy.toy_config("configs/probe.py", **settings)), tmp_path / name, quiet=True
            ) as work:
                fields = set(next(iter(work.feeds.evals["val"])))
                assert ("map/pooled@zoom" in fields) == (name == "kept")
                train.run(work)
                scores[name], found = work.evaluate(["val"])
                said[name] = found["val"]["outputs/label"]
    np.testing.assert_allclose(said["kept"], said["images"], atol=1e-9)
    assert scores["kept"] == pytest.approx(scores["images"], abs=1e-9)
    assert np.abs(said["kept"] - said["alone"]).max() > 1e-3


def test_a_finished_run_answers_as_it_was_evaluated(tmp_path):
    chosen = toy.toy_config("configs/finetune.py", **toy.LENET, eval_views=ALL)
    build.run(chosen, tmp_path, quiet=True, report=False)
    loaded = predictor.load(tmp_path)
    images = inputs.open_data(chosen).splits["test"]
    held = np.load(tmp_path / "predictions.npz")["test/outputs/label"]
    np.testing.assert_allclose(loaded.outputs(images)["label"], held, rtol=1e-5, atol=1e-5)
    alone = dataclasses.replace(loaded, views=())
    assert np.abs(alone.outputs(images)["label"] - held).max() > 1e-3
    # Explanations are of the image as it is: of a map, not of four.
    places = [of.maps(images.take(range(4)), "grad_cam", "label") for of in (loaded, alone)]
    np.testing.assert_array_equal(places[0], places[1])


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        ("finetune", {"eval_views": ("flop",)}, "did you mean flip"),
        ("finetune", {"eval_views": ("flip", "flip")}, "names a view twice"),
        ("tent", {"steps": 0, "eval_views": ("flip",)}, "leave config.eval_views empty"),
        ("text_cnn", {**toy.METHODS["text_cnn"], "eval_views": ("flip",)}, "are views of images"),
    ],
)
def test_what_cannot_be(spec, settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        build.run(toy.toy_config(f"configs/{spec}.py", **settings), tmp_path / "made", quiet=True)
    assert not (tmp_path / "made").exists()
