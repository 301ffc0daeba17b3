"""A finished run as a function of image files, sentences or questions, through the evaluation's own path."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tl import beside, build, explanations, inputs, optim, prepared, shots, spans, views, weights
from tl import config as configs
from tl import mesh as meshes
from tl.config import Config
from tl.data import graph, images, streams, texts, transforms
from tl.data.base import Split
from tl.errors import InputError
from tl.evaluators.collect import collect
from tl.explanations import Predict
from tl.net import Net
from tl.pages import ASKS
from tl.pieces import in_pieces
from tl.preprocess import Preprocess
from tl.shots import Shots
from tl.tasks import Task, head_name, layers_of
from tl.tasks import make as make_task
from tl.text import Text, apart
from tl.weights import readers


@dataclasses.dataclass(frozen=True)
class Predictor:
    """`tasks` by name, `label` where there is one, know their classes; `net` holds the selected weights."""

    tasks: Mapping[str, Task]
    preprocess: Preprocess | Text
    net: Net
    predict: Predict  # the method's
    memory: Any = ()  # what of the method's memory the run has kept for that
    shots: Shots | None = None  # of the classes, where the run is one of episodes
    relations: tuple[str, ...] = ()  # of a knowledge graph, whose entities are the classes
    views: tuple[str, ...] = ()  # of an image, over which answers are averaged

    def outputs(self, split: Split, change: transforms.Transform | None = None) -> dict[str, np.ndarray]:
        """{task: (N, outputs)} of the images of `split`, in order; `change` acts on what the network would see."""
        rows, asked = self.shots.around(split) if self.shots else (split, np.arange(len(split)))
        table = self.collected(rows, lambda variables, batch: self.answers(variables, batch[self.field]), change)
        return {name: table[name][asked] for name in self.tasks}

    @property
    def field(self) -> str:
        """What of a batch the network reads."""
        return getattr(self.net.modules["backbone"], "reads", "image")

    def of_images(self) -> Preprocess:
        """How images are prepared for it; InputError where it reads none."""
        if not isinstance(self.preprocess, Preprocess) or self.field != "image":
            raise InputError(f"this run does not read images: ask it by {ASKS[self.field]}.")
        return self.preprocess

    @property
    def over_views(self) -> Predict:
        """`predict`, averaged over the views; explanations are by `predict`, of the image as it is."""
        return views.averaged(self.predict, self.views)

    @functools.cached_property
    def answers(self) -> Callable[[tuple[Any, Any, Any], jax.Array], dict[str, jax.Array]]:
        """((params, stats, memory), what the network reads) -> {task: (N, outputs)}, compiled once."""
        return self.compiled(self.over_views)

    def maps(self, split: Split, method: str, task: str) -> np.ndarray:
        """(N, h, w) in 0..1: how much each place of an image matters to the answer; see `explanations.maps`."""

        def explain(net: Any, rows: Mapping[str, jax.Array], memory: Any) -> dict[str, jax.Array]:
            return {"maps": explanations.maps(method, self.predict, net, memory, rows["image"], task)}

        run = self.compiled(explain)
        return self.collected(split, lambda variables, batch: run(variables, batch["image"]))["maps"]

    def features(self, split: Split) -> np.ndarray:
        """(N, D) of the rows of `split`."""
        run = self.compiled(lambda net, rows, memory: {"features": net.features(rows)})
        return self.collected(split, lambda variables, batch: run(variables, batch[self.field]))["features"]

    def compiled(self, function: Predict) -> Callable[[tuple[Any, Any, Any], jax.Array], dict[str, jax.Array]]:
        """((params, stats, memory), what the network reads) -> `function(net, rows, memory)`."""
        mesh, together = meshes.make_mesh(), self.shots.shape.rows if self.shots else 1

        @jax.jit
        def run(variables: tuple[Any, Any, Any], inputs: jax.Array) -> dict[str, jax.Array]:
            params, stats, memory = variables
            net = dataclasses.replace(self.net, params=params, stats=stats)
            read = {self.field: inputs}
            return in_pieces(lambda rows: dict(function(net, rows, memory)), read, mesh, together)

        return run

    def collected(
        self,
        split: Split,
        run: Callable[[tuple[Any, Any, Any], Mapping[str, jax.Array]], Mapping[str, jax.Array]],
        change: transforms.Transform | None = None,
    ) -> dict[str, np.ndarray]:
        """What `run((params, stats, memory), batch)` gives of all rows; on each device 32 of them, or an episode."""
        mesh = meshes.make_mesh()
        seen = transforms.compose(transforms.evaluation(self.of_images()) if split.pictures else [])
        few = -(-min(32, max(1, len(split))) // mesh.size)
        each = self.shots.shape.rows if self.shots else few
        shown = seen if change is None else lambda image, rng: change(seen(image, rng), rng)
        batches = streams.eval_batches(split, shown, each * mesh.size, mesh)
        variables = (self.net.params, self.net.stats, self.memory)
        return collect(lambda batch: run(variables, batch), batches)

    def files(self, paths: Sequence[pathlib.Path]) -> dict[str, np.ndarray]:
        """{task: (N, C)} probabilities of the image files; of a regression the predicted values."""
        self.of_images()
        return self._said(split_of(paths))

    def texts(self, lines: Sequence[str]) -> dict[str, np.ndarray]:
        """The same of sentences."""
        if not isinstance(self.preprocess, Text):
            raise InputError("this run reads no text: --text and --lines are for one that does.")
        return self._said(texts.split_of(lines, self.preprocess))

    @property
    def tags(self) -> bool:
        """Whether it answers with a tag for every word."""
        return any(task.kind == "tags" for task in self.tasks.values())

    def tagged(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """For each sentence its words with their tags, None for a word that is cut off, and the entities in it."""
        if not isinstance(self.preprocess, Text):
            raise InputError("this run reads no text: --text and --lines are for one that does.")
        ((name, task),) = self.tasks.items()
        sentences = [apart(line) for line in lines]
        said = self._said(texts.split_of(sentences, self.preprocess))[name]
        records = []
        for line, words, places, rows in zip(lines, sentences, self.preprocess.words_at(sentences), said, strict=True):
            answers: list[dict[str, Any]] = [{"word": word, "tag": None, "probability": None} for word in words]
            for place in np.flatnonzero(places >= 0):
                best = int(rows[place].argmax())
                answers[places[place]] |= {"tag": task.classes[best], "probability": float(rows[place, best])}
            found = [
                {"type": kind, "text": " ".join(words[begin:end]), "first": begin, "last": end - 1}
                for kind, begin, end in spans.spans([answer["tag"] or spans.OUTSIDE for answer in answers])
            ]
            records.append({"text": line, "words": answers, "entities": found})
        return records

    def _said(self, split: Split) -> dict[str, np.ndarray]:
        return {name: self.tasks[name].probabilities(values) for name, values in self.outputs(split).items()}

    def triples(self, questions: Sequence[str], most: int = 10) -> list[dict[str, Any]]:
        """For each "HEAD RELATION" the `most` entities of the highest score, a row each, the best one first."""
        if not self.relations:
            asked = ASKS.get(self.field, "image files")
            raise InputError(f"the run has learnt no knowledge graph, of which --triples asks: ask it by {asked}.")
        (task,) = self.tasks.values()
        asked = np.array([graph.question(text, task.classes, self.relations) for text in questions], np.int32)
        split = Split(asked.__getitem__, {}, questions, in_memory=True, field=self.field)
        rows = []
        for text, scores in zip(questions, self.outputs(split)[task.name], strict=True):
            best = np.argsort(-scores, kind="stable")[:most]
            found = [{"entity": task.classes[entity], "score": float(scores[entity])} for entity in best]
            rows += [{"question": text, "place": place, **answer} for place, answer in enumerate(found, start=1)]
        return rows


def split_of(paths: Sequence[pathlib.Path]) -> Split:
    """The image files, without labels."""
    return Split(
        load=lambda i: images.decode(paths[i].read_bytes(), str(paths[i])),
        labels={},
        names=[str(path) for path in paths],
    )


def load(workdir: pathlib.Path | str, shot_folder: pathlib.Path | str | None = None) -> Predictor:
    """The predictor of a finished run; `shot_folder` is one of class folders, which a run of episodes needs.

    InputError where `workdir` holds no run, or a set of runs, and where it does not go with the shots.
    """
    workdir = pathlib.Path(workdir)
    config = config_of(workdir)
    images.use(config.get("image_library", ""))  # an older run's config has no such key
    given = read_shots(config, workdir, shot_folder)
    loaded = weights.load(f"run:{workdir}", config.model, config.model_args.to_dict())
    assert loaded is not None
    if loaded.classes is None or loaded.preprocess is None:
        raise InputError(
            f"'{workdir}/weights.safetensors' names neither classes nor preprocessing: write it again by a run."
        )
    about = loaded.tasks or {"label": (config.task, loaded.classes)}
    learnt = {name: make_task(name, kind, tuple(classes)) for name, (kind, classes) in about.items()}
    wanted = {"label": make_task("label", config.task, given.classes)} if given else learnt
    domains, target, shapes = len(config.data.split("+")), bool(config.get("target", "")), inputs.episodes_of(config)
    if shapes and given:
        shapes = dataclasses.replace(shapes, test=given.shape)
    module, relations = build.find_method(config.method), loaded.relations
    about = {"domains": domains, "target": target, "episodes": shapes, "relations": len(relations)}
    if "graph" in build.asked(module):
        _, meta = readers.read(workdir / "weights.safetensors")
        about["graph"] = beside.learnt(config, loaded.classes, meta)
    method = build.told(config, module, wanted, loaded, **about)
    if method.online:
        raise InputError(
            f"'{workdir}' has answered its test images as they came, and kept nothing of what it learnt: give the run "
            "that it began from, its config.weights or the stage before."
        )
    nested = optim.nested_of(loaded.flat)
    parts = {name: part.make() for name, part in method.parts.items() if name in nested["params"]}
    arguments = prepared.arguments(config, loaded, loaded.preprocess)
    modules = build.make_modules(config, learnt, method.heads, arguments) | parts
    preprocess = {"backbone": loaded.preprocess}
    layers = layers_of(config.get("tasks", ()))
    net = Net(modules, tuple(wanted), preprocess, nested["params"], nested["stats"], layers=layers)
    assert not method.heads or all(head_name(net.tasks, name) in nested["params"] for name in wanted)
    kept, seen = nested.get("memory", ()), tuple(config.get("eval_views", ()))
    return Predictor(wanted, loaded.preprocess, net, method.predict, kept, given, relations, seen)


def config_of(workdir: pathlib.Path) -> Config:
    """What the run's weights were trained by; InputError where there is no run, or one of vectors."""
    held = workdir / "config.json"
    if not held.is_file():
        raise InputError(f"'{workdir}' is no run: it has no config.json; give the --workdir of a finished run.")
    config = last_stage(configs.from_json(held.read_text()))
    if config.model == "vectors":
        raise InputError(f"'{workdir}' has learnt from vectors, and there are no images of these to predict.")
    return config


def read_shots(config: Config, workdir: pathlib.Path, folder: pathlib.Path | str | None) -> Shots | None:
    """The images of `folder`; InputError where the run needs some and none are given, or the other way round."""
    episodes = bool(config.get("episode", {"way": 0})["way"])
    if episodes and not folder:
        raise InputError(
            f"'{workdir}' tells new classes apart by some images of each: ask it by scripts/predict.py --shots FOLDER, "
            "with a folder for each class; all else is for runs with classes of their own."
        )
    if folder and not episodes:
        raise InputError(f"'{workdir}' knows its own classes, and --shots is for a run of episodes: leave it out.")
    return shots.read(pathlib.Path(folder)) if folder else None


def last_stage(config: Config) -> Config:
    """The config that the run's weights were trained by."""
    return configs.merged(config, dict(config.stages[-1])) if config.stages else config


def to_records(predictor: Predictor, names: Sequence[str], said: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """A row per image or text: which, and what `answer` gives; of several tasks by their names."""
    what = "text" if isinstance(predictor.preprocess, Text) else "file"
    rows: list[dict[str, Any]] = [{what: name} for name in names]
    for name, task in predictor.tasks.items():
        for row, values in zip(rows, said[name], strict=True):
            row |= {name: answer(task, values)} if len(predictor.tasks) > 1 else answer(task, values)
    return rows


def answer(task: Task, values: np.ndarray) -> dict[str, Any]:
    """(C,) values -> the predicted class, its probability, and every class's; of other kinds of task the values."""
    named = dict(zip(task.classes, map(float, values), strict=True))
    if task.kind not in ("classification", "binary"):
        return named
    best = int(values.argmax())
    return {"class": task.classes[best], "probability": float(values[best]), "probabilities": named}
