"""A finished run as one folder that jax and numpy alone can run: programs, weights, classes, preprocessing, a card."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL

from tl import explanations, inputs, onnx, predictor
from tl.config import Config
from tl.data.base import Split
from tl.errors import InputError
from tl.exported import load, prepare
from tl.models import ops
from tl.optim import nested_of, paths
from tl.predictor import Predictor
from tl.report import card, provenance
from tl.tasks import Task
from tl.weights import fetch, known, readers

PLATFORMS = ("cpu", "cuda", "tpu")
# (N, outputs) -> what `predict` says, as `Task.probabilities` does on the host
ANSWERS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "classification": lambda outputs: jax.nn.softmax(outputs, axis=-1),
    "binary": lambda outputs: jnp.concatenate([jax.nn.sigmoid(-outputs), jax.nn.sigmoid(outputs)], axis=1),
    "multi_label": jax.nn.sigmoid,
    "regression": lambda outputs: outputs,
}


def export(workdir: pathlib.Path, out: pathlib.Path, *, check: int = 100, as_onnx: bool = False) -> str:
    """Write the folder `out`, whole or not at all -> what was compared: the run's answers and the folder's.

    `check`: on how many of the run's test images. InputError for a run that cannot be exported, for a folder with
    something in it, and where one class differs.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"'{out}' exists and is no empty folder: give another --out, or remove it.")
    if importlib.util.find_spec("flatbuffers") is None:  # jax.export would only say so at its end
        raise InputError("jax.export needs the package flatbuffers: pip install -e '.[export]'.")
    out = out.absolute()
    if not out.name or out == pathlib.Path.cwd():
        raise InputError(f"'{out}' is where you are: give --out a folder of its own.")
    if check < 0:
        raise InputError(f"--check={check} is too small: give a number of test images, or 0 for none.")
    if as_onnx and not check:
        raise InputError("an ONNX file is written only where it agrees on real images: give --check a number above 0.")
    config = predictor.config_of(workdir)
    if config.get("episode", {"way": 0})["way"]:
        raise InputError(
            f"'{workdir}' tells classes apart by images of them, which come with the question: it answers by "
            "scripts/predict.py --shots, and cannot be exported."
        )
    loaded = predictor.load(workdir)
    loaded.of_images()
    tested = test_images(config, check) if check else None
    temporary = out.parent / f".{out.name}.{os.getpid()}.tmp"
    try:
        with writable(out):
            temporary.mkdir(parents=True)
        write(loaded, config, temporary)
        said = compare(loaded, tested, temporary) if tested else "compared with the run on no image"
        if as_onnx and tested:
            images = prepared(load.Model(temporary), tested)
            said += "; " + onnx.write(formed(program(loaded), "cpu"), tensors(loaded), temporary, images)
        write_card(loaded, config, workdir, temporary, said)
        write_sums(temporary)
        with writable(out):
            temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return said


@contextlib.contextmanager
def writable(out: pathlib.Path) -> Iterator[None]:
    """InputError where the folder cannot be made or put in its place."""
    try:
        yield
    except OSError as error:
        raise InputError(f"'{out}' cannot be written ({error.strerror}): give another --out.") from error


def test_images(config: Config, count: int) -> Split:
    """So many images of the run's test set, or of the domain it is tested on, evenly spread over it."""
    try:
        splits = inputs.open_data(config).splits
    except InputError as error:
        raise InputError(
            f"{error} The export is compared with the run on its test images: --check 0 skips that."
        ) from error
    split = splits["target"] if "target" in splits else splits["test"]
    return split.take(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))


def tensors(loaded: Predictor) -> dict[str, np.ndarray]:
    """The arguments of the program, by their paths."""
    tree = {"params": loaded.net.params, "stats": loaded.net.stats, "memory": loaded.memory or {}}
    return {path: np.asarray(leaf) for path, leaf in paths(tree).items()}


def bound(loaded: Predictor, flat: Mapping[str, jax.Array]) -> Predictor:
    """The predictor with other arrays, by their paths."""
    nested = nested_of(flat)
    net = dataclasses.replace(loaded.net, params=nested["params"], stats=nested["stats"])
    return dataclasses.replace(loaded, net=net, memory=nested.get("memory", ()))


def program(loaded: Predictor) -> Callable[..., dict[str, jax.Array]]:
    """(tensors, uint8 (N, size, size, 3)) -> {task: (N, C)} probabilities, of a regression values."""

    def run(flat: Mapping[str, jax.Array], image: jax.Array) -> dict[str, jax.Array]:
        here = bound(loaded, flat)
        outputs = here.over_views(here.net, {"image": image}, here.memory)
        return {name: ANSWERS[task.kind](outputs[name]) for name, task in loaded.tasks.items()}

    return run


def grad_cam(loaded: Predictor, layer: str) -> Callable[..., jax.Array]:
    """(tensors, uint8 (N, size, size, 3)) -> (N, h, w) in 0..1: where the first task's answer is from."""
    task = next(iter(loaded.tasks))

    def run(flat: Mapping[str, jax.Array], image: jax.Array) -> jax.Array:
        here = bound(loaded, flat)
        return explanations.grad_cam(here.predict, here.net, here.memory, {"image": image}, task, layer)

    return run


def formed(function: Callable[..., Any], target: str) -> Callable[..., Any]:
    """`function`, traced in the forms that are fast on `target`."""

    def traced(*args: Any) -> Any:
        before = ops.TARGET.set(target)
        try:
            return function(*args)
        finally:
            ops.TARGET.reset(before)

    return traced


def shapes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}


def serialised(function: Callable[..., Any], flat: Mapping[str, np.ndarray], size: int) -> bytes:
    """One file for all PLATFORMS and any number of images.

    A CPU and accelerators take their own forms of a network (tl/models/ops.py): both are in it, and the one that
    runs is chosen when it is compiled.
    """

    def everywhere(*args: Any) -> Any:
        return jax.lax.platform_dependent(*args, cpu=formed(function, "cpu"), default=formed(function, "tpu"))

    (count,) = jax.export.symbolic_shape("n")
    image = jax.ShapeDtypeStruct((count, size, size, 3), jnp.uint8)
    found = jax.export.export(jax.jit(everywhere), platforms=PLATFORMS)(shapes_of(flat), image)
    return bytes(found.serialize())


def asked(function: Callable[..., Any], flat: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Those of `flat` that the function reads: parts that only training needs, such as a discriminator, it does not."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    jaxpr = jax.make_jaxpr(function)(shapes_of(flat), image).jaxpr
    read = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
    return {
        name: flat[name] for name, variable in zip(sorted(flat), jaxpr.invars[:-1], strict=True) if id(variable) in read
    }


def down_first() -> bool:
    """Whether this Pillow resizes some pictures down before across; see `prepare.resize`."""
    return int(PIL.__version__.split(".")[0]) >= 13


def write(loaded: Predictor, config: Config, folder: pathlib.Path) -> None:
    """Programs, weights, model.json and what runs them."""
    flat, size = tensors(loaded), loaded.of_images().size
    flat = asked(program(loaded), flat, size)
    (folder / "predict.jax").write_bytes(serialised(program(loaded), flat, size))
    layer = explanations.spatial_layer(loaded.net, size)
    if layer:
        (folder / "grad_cam.jax").write_bytes(serialised(grad_cam(loaded, layer), flat, size))
    np.savez(folder / "weights.npz", **flat)  # pyright: ignore[reportArgumentType]
    about = {
        "model": config.model,
        "method": config.method,
        "tasks": {name: {"kind": task.kind, "classes": task.classes} for name, task in loaded.tasks.items()},
        "preprocess": dataclasses.asdict(loaded.preprocess) | {"down_first": down_first()},
        "platforms": PLATFORMS,
        "grad_cam": layer,
        "jax": jax.__version__,
    }
    (folder / "model.json").write_text(json.dumps(about, indent=1) + "\n")
    for module in (load, prepare):
        path = pathlib.Path(module.__file__ or "")
        shutil.copyfile(path, folder / path.name)
    write_flatbuffers(folder / "flatbuffers.zip")


def write_flatbuffers(path: pathlib.Path) -> None:
    """The installed package, to be imported from the archive where it is not installed; the same bytes each time."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(metadata.files("flatbuffers") or ()):
            if file.suffix == ".py" or file.name.startswith(("METADATA", "LICENSE")):
                archive.writestr(zipfile.ZipInfo(str(file)), file.read_binary())


def compare(loaded: Predictor, tested: Split, folder: pathlib.Path) -> str:
    """The answers of run and folder to the same images; InputError where one differs."""
    model, outputs = load.Model(folder), loaded.outputs(tested)
    found = model.predict(prepared(model, tested))
    wrong, most = np.zeros(len(tested), bool), 0.0
    for name, task in loaded.tasks.items():
        wanted, got = task.probabilities(outputs[name]), found[name]
        wrong |= differing(task, wanted, got) | ~np.isfinite(wanted + got).all(axis=-1)
        most = max(most, float(np.abs(wanted - got).max()))
    text = (
        f"{len(tested)} test images, {wrong.sum()} answered otherwise than by the run, values at most {most:.1e} apart"
    )
    if wrong.any():
        raise InputError(
            f"{text}: nothing is written. prepare.py resizes as Pillow does, which differs a little from "
            "config.image_library='opencv'; --check 0 exports it all the same."
        )
    return text


def prepared(model: load.Model, tested: Split) -> np.ndarray:
    """(N, size, size, 3) uint8, as the network takes them."""
    return np.stack([prepare.prepare(tested.load(i), model.about["preprocess"]) for i in range(len(tested))])


def differing(task: Task, wanted: np.ndarray, got: np.ndarray) -> np.ndarray:
    """(N,) where two answers are not the same: another class, another set of classes, another number."""
    if task.kind == "multi_label":
        return np.any((wanted > 0.5) != (got > 0.5), axis=1)
    if task.kind == "regression":
        return np.any(~np.isclose(wanted, got, rtol=1e-3, atol=1e-4), axis=1)
    return np.asarray(wanted.argmax(axis=1) != got.argmax(axis=1))


def write_card(loaded: Predictor, config: Config, workdir: pathlib.Path, folder: pathlib.Path, said: str) -> None:
    summary = json.loads((workdir / "summary.json").read_text()) if (workdir / "summary.json").is_file() else {}
    row = None if config.weights == "none" else known.of_source(fetch.resolve(config.weights, config.model))
    text = card.card(
        name=workdir.name,
        model=config.model,
        method=config.method,
        data=config.data + (f", adapted to {config.target}" if config.get("target", "") else ""),
        tasks={name: (task.kind, task.classes) for name, task in loaded.tasks.items()},
        preprocess=dataclasses.asdict(loaded.preprocess),
        summary=summary,
        start=config.weights,
        licence=row.licence if row else "",
        trained_on=row.data if row else "",
        compared=said,
        versions=provenance.versions(),
        files=sorted(path.name for path in folder.iterdir()),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def write_sums(folder: pathlib.Path) -> None:
    """SHA256SUMS, as `sha256sum -c` reads it."""
    lines = [f"{readers.file_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(lines))
