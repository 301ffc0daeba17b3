"""A finished run as a function from image files to predictions, through the evaluation's own path."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tl import build, tasks, weights
from tl import config as configs
from tl import mesh as meshes
from tl.config import Config
from tl.data import images, streams, transforms
from tl.data.base import Split
from tl.errors import InputError
from tl.evaluators.collect import collect
from tl.methods.base import head_name
from tl.net import Net
from tl.preprocess import Preprocess


@dataclasses.dataclass(frozen=True)
class Predictor:
    """`task.classes` are the class names; `net` holds the selected weights."""

    task: tasks.Task
    preprocess: Preprocess
    net: Net
    predict: Callable[[Any, Mapping[str, jax.Array], Any], dict[str, jax.Array]]  # the method's
    memory: Any = ()  # what of the method's memory the run has kept for that

    def outputs(self, split: Split, batch_size: int = 32) -> np.ndarray:
        """(N, outputs) of the images of `split`, in order."""
        mesh = meshes.make_mesh()
        batch_size = -(-min(batch_size, max(1, len(split))) // mesh.size) * mesh.size
        evaluation = transforms.compose(transforms.evaluation(self.preprocess))
        batches = streams.eval_batches(split, evaluation, batch_size, mesh)

        @jax.jit
        def run(params: Any, stats: Any, memory: Any, image: jax.Array) -> jax.Array:
            net = dataclasses.replace(self.net, params=params, stats=stats)
            say = lambda rows: self.predict(net, rows, memory)[self.task.name]  # noqa: E731
            return meshes.in_pieces(say, {"image": image}, mesh)

        variables = (self.net.params, self.net.stats, self.memory)
        table = collect(lambda batch: {"outputs": run(*variables, batch["image"])}, batches)
        return table["outputs"]

    def files(self, paths: Sequence[pathlib.Path]) -> np.ndarray:
        """(N, C) probabilities of the image files; for a regression the predicted values."""
        split = Split(
            load=lambda i: images.decode(paths[i].read_bytes(), str(paths[i])),
            labels={},
            names=[str(path) for path in paths],
        )
        return self.task.probabilities(self.outputs(split))


def load(workdir: pathlib.Path | str) -> Predictor:
    """The predictor of a finished run; InputError where `workdir` holds none, or a set of runs."""
    workdir = pathlib.Path(workdir)
    held = workdir / "config.json"
    if not held.is_file():
        raise InputError(f"'{workdir}' is no run: it has no config.json; give the --workdir of a finished run.")
    config = last_stage(configs.from_json(held.read_text()))
    if config.model == "vectors":
        raise InputError(f"'{workdir}' has learnt from vectors, and there are no images of these to predict.")
    if config.get("episode", {"way": 0})["way"]:
        raise InputError(
            f"'{workdir}' tells new classes apart by a few images of each: it has no name for an image by itself."
        )
    images.use(config.get("image_library", ""))  # an older run's config has no such key
    loaded = weights.load(f"run:{workdir}", config.model, config.model_args.to_dict())
    assert loaded is not None
    if loaded.classes is None or loaded.preprocess is None:
        raise InputError(
            f"'{workdir}/weights.safetensors' names neither classes nor preprocessing: write it again by a run."
        )
    task = tasks.make("label", config.task, loaded.classes)
    domains, target = len(config.data.split("+")), bool(config.get("target", ""))
    method = build.told(config, build.find_method(config.method), task, loaded, domains=domains, target=target)
    nested: dict[str, Any] = {"params": {}, "stats": {}}
    for path, leaf in loaded.flat.items():
        *names, last = path.split("/")
        node = nested
        for name in names:
            node = node.setdefault(name, {})
        node[last] = leaf
    parts = {name: part.make() for name, part in method.parts.items() if name in nested["params"]}
    modules = build.make_modules(config, task, method.heads) | parts
    net = Net(modules, (task.name,), {"backbone": loaded.preprocess}, nested["params"], nested["stats"])
    assert not method.heads or head_name(net.tasks, task.name) in nested["params"]
    return Predictor(task, loaded.preprocess, net, method.predict, nested.get("memory", ()))


def last_stage(config: Config) -> Config:
    """The config that the run's weights were trained by."""
    return configs.merged(config, dict(config.stages[-1])) if config.stages else config


def to_records(predictor: Predictor, names: Sequence[str], probabilities: np.ndarray) -> list[dict[str, Any]]:
    """A row per image: file, the prediction, its probability, and every class's."""
    classes = predictor.task.classes
    if predictor.task.kind not in ("classification", "binary"):
        values = [dict(zip(classes, map(float, row), strict=True)) for row in probabilities]
        return [{"file": name, **row} for name, row in zip(names, values, strict=True)]
    best = probabilities.argmax(axis=1)
    return [
        {
            "file": name,
            "class": classes[b],
            "probability": float(row[b]),
            "probabilities": dict(zip(classes, map(float, row), strict=True)),
        }
        for name, b, row in zip(names, best, probabilities, strict=True)
    ]
