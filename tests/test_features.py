"""Stored feature vectors as data: read, checked, and adapted between domains like images."""

from __future__ import annotations

import numpy as np
import pytest
import toy

from tl import build
from tl.data.domains import open_domains
from tl.data.sources import open_source
from tl.errors import InputError


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Domains `near` and `far`, three classes with the labels 1, 2 and 5, four features; `other` has five."""
    rng, arrays = np.random.default_rng(0), {}
    centres = 3 * rng.standard_normal((3, 4))
    for name, shift in (("near", 0.0), ("far", 0.5)):
        places = np.arange(90) % 3
        arrays[f"{name}_x"] = (centres[places] + shift + 0.5 * rng.standard_normal((90, 4))).astype(np.float32)
        arrays[f"{name}_y"] = np.array([1, 2, 5], np.uint8)[places]
    arrays |= {"other_x": np.ones((6, 5), np.uint8), "other_y": np.array([1, 2, 5, 1, 2, 5])}
    arrays |= {"short_x": np.ones((6, 5), np.uint8), "short_y": np.array([1, 2])}
    arrays |= {"nan_x": np.full((6, 5), np.nan), "nan_y": arrays["other_y"]}
    path = tmp_path_factory.mktemp("features") / "features.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path


def test_rows_are_the_files_own(file):
    found = open_source(f"features:{file}#near", val_fraction=0.0, cut_test=False)
    train = found.splits["train"]
    with np.load(file) as arrays:
        np.testing.assert_array_equal(np.stack([train.load(i) for i in range(90)]), arrays["near_x"])
    assert (train.width, found.classes, train.labels["label"][:3].tolist()) == (4, ("1", "2", "5"), [0, 1, 2])
    assert found.fingerprint != open_source(f"features:{file}#far").fingerprint


SETTINGS = {
    "image_size": 0,
    "resize": 0,
    "model": "vectors",
    "model_args": {},
    "data": "features:{file}#near",
    "target": "features:{file}#far",
    "bottleneck__width": 8,
    "bottleneck__norm": True,
    "groups": ((".*", {}),),
    "labels_per_class": 0,
    "eval_batch_size": 32,
    "train_transforms": (),
    "steps": 120,
    "eval_every": 40,
}


def settings(file, **changes):
    chosen = {**SETTINGS, **changes}
    return {key: value.format(file=file) if isinstance(value, str) else value for key, value in chosen.items()}


def test_a_method_adapts_from_vectors(file, tmp_path):
    config = toy.toy_config("configs/mcc.py", **settings(file))
    summary = build.run(config, tmp_path, quiet=True)
    assert summary["target/accuracy"] > 0.9
    assert "scripts/predict.py" not in (tmp_path / "report.html").read_text()  # which reads images


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "lenet"}, ["config.model='lenet'", "vectors of 4 numbers", "config.model='vectors'"]),
        ({"data": "digits", "target": ""}, ["'vectors' does not go", "images"]),
        ({"train_transforms": (("shift", {}),)}, ["config.train_transforms", "vectors"]),
        ({"data": "features:{file}#neat"}, ["'neat'", "near"]),
        ({"data": "features:{file}.x#near"}, ["no such file"]),
        ({"data": "features:{file}#short"}, ["short_y", "must be 6 whole numbers"]),
        ({"data": "features:{file}#nan"}, ["nan_x", "finite"]),
        ({"data": "features:{file}#other"}, ["vectors of 5", "vectors of 4"]),
    ],
)
def test_bad_features(file, changes, words):
    method = {"spec": "configs/finetune.py"} if changes.get("target") == "" else {"spec": "configs/mcc.py"}
    with pytest.raises(InputError) as error:
        build.experiment(toy.toy_config(**method, **settings(file, **changes)))
    assert all(word in str(error.value) for word in words), error.value


def test_domains_of_images_and_vectors_do_not_mix(file):
    with pytest.raises(InputError, match="different"):
        open_domains(f"features:{file}#near", "digits")
