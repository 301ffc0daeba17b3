"""An exported folder: the run's answers by jax and numpy alone, whole or not there."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata

import jax
import numpy as np
import pytest
import toy
from packaging.requirements import Requirement
from PIL import Image

from scripts import export as script
from tl import build, explanations, export, onnx, predictor
from tl.data import transforms
from tl.errors import InputError
from tl.exported.load import Model
from tl.exported.prepare import prepare
from tl.predictor import Predictor
from tl.serving.network import Network

# One run for each kind of export: name -> config file and settings.
RUNS = {
    "digits": (
        "configs/finetune.py",
        {**toy.LENET, "labels_per_class": 0, "steps": 40, "eval_views": ("flip", "zoom")},
    ),
    "parts": ("configs/dann.py", {**toy.METHODS["dann"], "steps": 2, "eval_every": 2}),
    "domains": ("configs/erm.py", {**toy.GENERALISE, "steps": 2, "eval_every": 2}),
    "heads": ("configs/multi_task.py", {**toy.SEVERAL, "steps": 2, "eval_every": 2}),
    "norms": ("configs/finetune.py", {"task": "binary", "data": "noise:8,2,60", "steps": 2, "eval_every": 2}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """name -> (the folder with `run` and `out`, what the export said), made once."""

    @functools.cache
    def make(name):
        spec, settings = RUNS[name]
        folder = tmp_path_factory.mktemp(name)
        build.run(toy.toy_config(spec, **settings), folder / "run", quiet=True, report=False)
        return folder, export.export(folder / "run", folder / "out", check=500)

    return make


def ready(model, images):
    return np.stack([prepare(image, model.about["preprocess"]) for image in images])


@pytest.fixture(params=RUNS)
def run(request, made):
    return request.param, *made(request.param)


def test_the_folder_answers_as_the_run_does(run):
    name, folder, said = run
    assert ", 0 answered otherwise than by the run" in said
    assert (name != "digits") or said.startswith("500 test images")
    loaded, model = predictor.load(folder / "run"), Model(folder / "out")
    assert model.classes == {task.name: list(task.classes) for task in loaded.tasks.values()}
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*rng.integers(5, 40, 2), 3), dtype=np.uint8) for _ in range(5)]
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    wanted, found = loaded.files([folder / f"{i}.png" for i in range(5)]), model.predict(ready(model, images))
    for task, values in wanted.items():
        np.testing.assert_allclose(found[task], values, rtol=1e-4, atol=1e-6)


def test_what_lies_in_the_folder(run):
    name, folder, _ = run
    files = {path.name for path in (folder / "out").iterdir()}
    assert files == {
        *("README.md", "SHA256SUMS", "flatbuffers.zip", "grad_cam.jax", "load.py", "model.json", "predict.jax"),
        *("prepare.py", "weights.npz"),
    }
    assert len((folder / "out" / "load.py").read_text().splitlines()) <= 30
    sums = dict(line.split("  ")[::-1] for line in (folder / "out" / "SHA256SUMS").read_text().splitlines())
    assert sums.keys() == files - {"SHA256SUMS"}
    for file, digest in sums.items():
        assert hashlib.sha256((folder / "out" / file).read_bytes()).hexdigest() == digest
    program = jax.export.deserialize(bytearray((folder / "out" / "predict.jax").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    weights = Model(folder / "out").weights
    assert len(program.in_avals) == len(weights) + 1
    assert not any("discriminator" in path for path in weights)
    assert (name != "parts") or any("discriminator" in path for path in toy.leaves_of(folder / "run"))
    card = (folder / "out" / "README.md").read_text()
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["commit"] in card
    assert ("licence Apache-2.0" in card) == (name == "digits" and "bundled" in card)
    for task in Model(folder / "out").classes.values():
        assert task[0] in card


def test_the_map_in_the_folder_is_grad_cam(run):
    _, folder, _ = run
    loaded, model = predictor.load(folder / "run"), Model(folder / "out")
    size = loaded.of_images().size
    images = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    task, memory = next(iter(loaded.tasks)), loaded.memory
    wanted = explanations.maps("grad_cam", loaded.predict, loaded.net, memory, jax.numpy.asarray(images), task)
    np.testing.assert_allclose(model.load("grad_cam")(model.weights, images), wanted, rtol=1e-3, atol=1e-5)


def needed(package):
    """The distributions that come with `pip install package`."""
    found = {package}
    for line in metadata.requires(package) or ():
        requirement = Requirement(line)
        if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
            found |= needed(requirement.name)
    return found


def test_load_py_needs_jax_and_numpy_alone(made, tmp_path):
    """In an environment of these, and what they bring along."""
    folder, _ = made("digits")
    for name in needed("jax") | needed("numpy"):
        for top in {file.parts[0] for file in metadata.files(name) or () if file.parts[0] not in ("..", "__pycache__")}:
            (tmp_path / top).symlink_to(metadata.distribution(name).locate_file(top))
    code = (
        "import numpy as np\nfrom load import Model\nfrom prepare import prepare\n"
        "image = np.arange(20 * 30 * 3).astype(np.uint8).reshape(20, 30, 3)\n"
        "model = Model('.')\nfound = model.predict(np.stack([prepare(image, model.about['preprocess'])] * 2))\n"
        "print({name: rows.tolist() for name, rows in found.items()})"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=folder / "out",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    image, model = np.arange(20 * 30 * 3).astype(np.uint8).reshape(20, 30, 3), Model(folder / "out")
    for task, rows in eval(done.stdout).items():
        np.testing.assert_allclose(rows, model.predict(ready(model, [image] * 2))[task], rtol=1e-4)


def test_images_are_prepared_to_the_bit_as_for_the_run():
    """Of 300 sizes: pictures that grow and shrink, tall and wide, a few pixels and many."""
    rng = np.random.default_rng(0)
    for number in range(300):
        height, width = rng.integers(1, 40, 2) if number % 2 else rng.integers(20, 260, 2)
        size, short = (int(value) for value in rng.integers(8, 64, 2))
        if short * max(height, width) // min(height, width) > 2000:
            continue
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        how = {"size": size, "resize": short, "down_first": export.down_first()}
        steps = [("resize", {"size": short}), ("centre_crop", {"size": size})]
        np.testing.assert_array_equal(prepare(image, how), transforms.compose(steps)(image, rng))


def test_a_class_that_differs_leaves_nothing(made, monkeypatch, tmp_path):
    folder, _ = made("digits")
    honest = Predictor.outputs
    monkeypatch.setattr(Predictor, "outputs", lambda self, split: {"label": -honest(self, split)["label"]})
    with pytest.raises(InputError, match=r"20 test images, 20 answered otherwise .*: nothing is written"):
        export.export(folder / "run", tmp_path / "out", check=20)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported(made, tmp_path, capsys):
    folder, _ = made("digits")

    def said(workdir, out=tmp_path / "out", *flags):
        assert script.main(["--workdir", str(workdir), "--out", str(out), *flags]) == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        assert not (tmp_path / "out").exists()
        return error

    assert "is no run: it has no config.json" in said(tmp_path / "absent")
    assert "exists and is no empty folder" in said(folder / "run", folder / "out")
    (tmp_path / "file").write_text("")
    assert "cannot be written (Not a directory)" in said(folder / "run", tmp_path / "file" / "x", "--check", "0")
    assert "exists and is no empty folder" in said(folder / "run", folder / "out" / "load.py")
    assert "--check=-1 is too small" in said(folder / "run", tmp_path / "out", "--check", "-1")
    assert "--check a number above 0" in said(folder / "run", tmp_path / "out", "--onnx", "--check", "0")
    changes = {
        "which come with the question": {"episode": {"way": 2}},
        "learnt from vectors": {"model": "vectors"},
        "kept nothing of what it learnt": {"method": "tent"},
        "--check 0 skips that": {"data": "npz:/nowhere/x.npz"},
    }
    for number, (wanted, change) in enumerate(changes.items()):
        other = tmp_path / str(number)
        shutil.copytree(folder / "run", other, ignore=shutil.ignore_patterns("checkpoints", "tb"))
        config = json.loads((other / "config.json").read_text())
        config |= {key: config[key] | value if isinstance(value, dict) else value for key, value in change.items()}
        (other / "config.json").write_text(json.dumps(config))
        assert wanted in said(other)
    (tmp_path / "0" / "weights.safetensors").unlink()
    shutil.copy(folder / "run" / "config.json", tmp_path / "0")
    assert "weights.safetensors" in said(tmp_path / "0")


def test_onnx_is_kept_where_it_agrees(tmp_path):
    """Max pooling with padding is what the converter has been wrong about."""
    pytest.importorskip("jax2onnx", reason="jax2onnx is not installed: ONNX files were not tried")
    changes = {"model": "resnet18", "model_args": {"width": 4}, "image_size": 32, "resize": 32, "steps": 1}
    build.run(toy.toy_config(**changes), tmp_path / "run", quiet=True, report=False)
    said = export.export(tmp_path / "run", tmp_path / "out", check=20, as_onnx=True)
    assert "ONNX Runtime's at most" in said
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_onnx_that_differs_or_is_not_installed(tmp_path, monkeypatch):
    """A converter whose network says something else, in place of the real one."""
    images = np.zeros((3, 4, 4, 3), np.uint8)

    class Session:
        off = 2e-4

        def __init__(self, path, providers):
            pass

        def run(self, names, given):
            return [np.full((3, 2), 0.5 + self.off)]

    fake = type(sys)("jax2onnx")
    fake.to_onnx = lambda network, shapes, **how: None  # pyright: ignore[reportAttributeAccessIssue]
    runtime = type(sys)("onnxruntime")
    runtime.InferenceSession = Session  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "jax2onnx", fake)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    same = lambda flat, image: {"label": np.full((3, 2), 0.5)}  # noqa: E731
    with pytest.raises(InputError, match=r"3 images are up to 2.0e-04 from those of the network: nothing is written"):
        onnx.write(same, {}, tmp_path, images)
    monkeypatch.setattr(Session, "off", np.nan)
    with pytest.raises(InputError, match="nothing is written"):
        onnx.write(same, {}, tmp_path, images)
    monkeypatch.setattr(Session, "off", 5e-5)
    assert "at most 5.0e-05" in onnx.write(same, {}, tmp_path, images)
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(InputError, match=r"ONNX needs the package jax2onnx: pip install -e '.\[onnx\]'"):
        onnx.write(same, {}, tmp_path, images)


def zeroed(path):
    """Weights that can be read and are others."""
    with np.load(path) as file:
        others = {name: np.zeros_like(values) for name, values in file.items()}
    np.savez(path, **others)


@pytest.mark.parametrize(
    ("name", "hurt", "said"),
    [
        ("model.json", lambda path: path.write_text(path.read_text()[:-9]), "not as it was exported"),
        ("weights.npz", lambda path: path.write_bytes(path.read_bytes()[:-9]), "not as it was exported"),
        ("weights.npz", zeroed, "not as it was exported"),
        ("predict.jax", lambda path: path.write_bytes(path.read_bytes()[:9]), "not as it was exported"),
        ("grad_cam.jax", lambda path: path.unlink(), "no longer there"),
        ("SHA256SUMS", lambda path: path.unlink(), "it has no SHA256SUMS"),
    ],
)
def test_a_folder_that_is_not_as_it_was_exported_is_not_served(made, tmp_path, name, hurt, said):
    other = shutil.copytree(made("digits")[0] / "out", tmp_path / "other")
    (other / "README.md").write_text("a card that its owner has gone on with")
    Network(other, 1)
    hurt(other / name)
    with pytest.raises(InputError, match=rf"{name}.*scripts/export\.py") as error:
        Network(other, 1)
    assert said in str(error.value)
