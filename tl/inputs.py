"""What a run reads, made of its config: training streams, passes over them, cached views, evaluation sets."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tl import models
from tl.config import Config
from tl.data import domains, episodes, images, increments, measured, omniglot, several, sources, streams, transforms
from tl.data.base import Dataset, Split
from tl.data.order import STRONG, Order
from tl.episodes import Episodes, Shape
from tl.errors import InputError
from tl.methods.base import Method
from tl.preprocess import Preprocess

AT_THE_END = ("test", "pool", "earlier")  # sets that are evaluated once, with the selected weights
ONE_KNOWN_TASK = (
    *("target", "transductive", "target_labels", "unlabelled", "nested", "increments", "earlier", "classes"),
    "reverse_validation",
)
SHAPE = ("way", "shot", "query")  # keys of config.episode
SAMPLE = 500  # images of `reference` and `unlabelled`: scores without labels cost the square of it


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Each by the name of its stream, but for `evals`, which go by the name of their split."""

    streams: Mapping[str, Any]
    passes: Mapping[str, streams.EvalBatches]
    views: Mapping[str, streams.EvalBatches]
    evals: Mapping[str, streams.EvalBatches]
    orders: Mapping[str, Order]  # in which streams are visited that go by episodes
    together: int  # rows of an evaluation set that are one episode


def make(config: Config, method: Method, dataset: Dataset, preprocess: Any, mesh: jax.sharding.Mesh) -> Inputs:
    """What the method's batches hold, and what else it and evaluation go through."""
    splits = {name: stream_split(name, dataset, config) for name in method.streams}
    passes = splits | {name: stream_split(name, dataset, config) for name in method.passes}
    steps = {name: training_transforms(config, preprocess, name) for name, split in splits.items() if split.pictures}
    chosen = {name: transforms.compose(steps.get(name, [])) for name in splits}
    for name, split in splits.items():
        if name.endswith(STRONG) and not transforms.varies(chosen[name], split.load(0).shape):
            raise InputError(
                f"the method '{config.method}' compares two views of an image, and nothing draws the second at random: "
                "set config.strong_transforms."
            )
    plain = lambda split: transforms.compose(transforms.evaluation(preprocess) if split.pictures else [])  # noqa: E731
    batch = config.eval_batch_size or config.batch_size
    orders, shapes = episode_orders(config, splits, dataset), episodes_of(config)
    evals = in_episodes(config, evaluated(dataset, config.seed, config.get("reverse_validation", False)), dataset)
    return Inputs(
        {
            name: streams.train_stream(
                split, chosen[name], batch_size=config.batch_size, seed=config.seed, name=name, places=orders.get(name)
            )
            for name, split in splits.items()
        },
        {name: streams.eval_batches(split, plain(split), batch, mesh) for name, split in passes.items()},
        {
            name: streams.eval_batches(repeated(split, config), chosen[name], batch, mesh)
            for name, split in splits.items()
            if config.cached_views
        },
        {name: streams.eval_batches(split, plain(split), batch, mesh) for name, split in evals.items()},
        orders,
        shapes.test.rows if shapes else 1,
    )


def episodes_of(config: Config) -> Episodes | None:
    """The shapes that config.episode asks for, None for none; InputError where a batch ends within one."""
    asked = config.get("episode", {"way": 0})
    if not asked["way"]:
        return None
    for key, least in (("way", 2), ("shot", 1), ("query", 1), ("count", 1), ("batch", 0)):
        if asked[key] < least:
            raise InputError(f"config.episode.{key}={asked[key]} is too small: it must be at least {least}.")
    test = Shape(asked["way"], asked["shot"], asked["query"])
    train = Shape(*(asked.get(f"train_{key}") or asked[key] for key in SHAPE))  # an older run has no train_shot
    both = {"batch_size": train if asked["batch"] else None, "eval_batch_size": test}
    for key, shape in both.items():
        if shape and (config[key] % shape.rows or not config[key]):
            raise InputError(
                f"config.{key}={config[key]} holds no whole number of episodes of {shape.way} x ({shape.shot} + "
                f"{shape.query}) images: set it to a multiple of {shape.rows}."
            )
    if asked["batch"] and config.accumulate > 1:
        raise InputError(
            f"config.accumulate={config.accumulate} would cut episodes apart: set episode.batch lower, it to 1."
        )
    return Episodes(both["batch_size"], test)


def episode_orders(config: Config, splits: Mapping[str, Split], dataset: Dataset) -> dict[str, Order]:
    """{stream: its endless episodes}, {} where training sees none."""
    shapes = episodes_of(config)
    if not shapes or not shapes.train:
        return {}
    if config.cached_views:
        raise InputError("config.cached_views goes through images in turn, and episodes do not: set it to 0.")
    about = config.episode
    keys = tuple(f"train_{key}" if about.get(f"train_{key}") else key for key in SHAPE)
    how = about.within, dataset.classes, keys
    return {
        name: episodes.endless(split, shapes.train, config.seed, name.removesuffix(STRONG), *how)
        for name, split in splits.items()
    }


def in_episodes(config: Config, sets: Mapping[str, Split], dataset: Dataset) -> Mapping[str, Split]:
    """The sets as episodes, where the config asks for them: the same ones for every seed."""
    shapes = episodes_of(config)
    if not shapes:
        return sets
    found = {}
    for name, split in sets.items():
        count = config.episode.count if name == "test" else max(1, config.episode.count // 10)
        if "query" in split.labels:
            found[name] = split
        else:
            how = config.episode.within, dataset.named[name], SHAPE
            order = episodes.endless(split, shapes.test, 0, name, *how)
            found[name] = episodes.fixed(split, shapes.test, count, order)
    return found


def check_kind(config: Config, dataset: Dataset) -> None:
    """Images, vectors and rows of another field each need a model of their own kind, and keys about them alone."""
    train = dataset.splits["train"]
    fitting = models.reading("tokens" if train.written else train.field, numbers=bool(train.width))
    if config.model not in fitting:
        wanted = " or ".join(f"config.model='{name}'" for name in fitting) if len(fitting) < 6 else "another model"
        raise InputError(
            f"config.model='{config.model}' does not go with config.data, which holds {train.holds}: set {wanted}."
        )
    for key in ("train_transforms", "strong_transforms", "mean", "std"):
        if config[key] and not train.pictures:
            raise InputError(f"config.{key} changes images, but config.data holds {train.holds}: set it to ().")
    for key in ("image_size", "resize"):
        if config[key] and not train.pictures and not config.get("zero_shot", {}).get("images"):
            raise InputError(f"config.{key} is of images, but config.data holds {train.holds}: set it to 0.")
    for key, value in config.get("text", {}).items():
        if value and not train.written and train.field != "tokens":
            raise InputError(f"config.text.{key} is of sentences, but config.data holds {train.holds}: leave it out.")


def stream_split(name: str, dataset: Dataset, config: Config) -> Split:
    """The images of a stream: `train`, `target`, `earlier`, `exemplars`, and `NAME_strong` for other views of those."""
    held = {
        "train": "train",
        "target": "unlabelled",
        "earlier": "earlier",
        "exemplars": "exemplars",
        "triples": "triples",
    }
    kind = held.get(name.removesuffix(STRONG), "")
    if kind not in dataset.splits and kind in ("earlier", "exemplars"):
        raise InputError(
            f"the method '{config.method}' keeps images of what was learnt: set config.exemplars to how many "
            "of each class, with config.increments, or config.earlier to their data."
        )
    if kind not in dataset.splits:
        raise InputError(
            f"the method '{config.method}' reads the stream '{name}', and there is none: set config.target to data of "
            "the domain to adapt to, or config.unlabelled=True to learn from few labels."
        )
    if name.endswith(STRONG) and not dataset.splits[kind].pictures:
        rows = dataset.splits[kind].holds
        raise InputError(f"the method '{config.method}' compares two views of an image: it cannot learn from {rows}.")
    return dataset.splits[kind]


def evaluated(dataset: Dataset, seed: int, pool: bool = False) -> dict[str, Split]:
    """The sets that are evaluated: val, test and, with a target, its test images and samples for scores without labels.

    `reference` is a sample of the labelled training images, `unlabelled` one of the target's; `pool`, if asked for, are
    all of these.
    """
    found = {name: dataset.splits[name] for name in ("val", "test", "target") if len(dataset.splits.get(name, ()))}
    if "earlier_test" in dataset.splits:
        found["earlier"] = dataset.splits["earlier_test"]
    if dataset.target:
        for name, split in (("reference", dataset.splits["train"]), ("unlabelled", dataset.splits["unlabelled"])):
            chosen = np.random.default_rng([seed, 4]).permutation(len(split))[:SAMPLE]
            found[name] = split.take(np.sort(chosen))
    return found | ({"pool": dataset.splits["unlabelled"]} if pool else {})


def repeated(split: Split, config: Config) -> Split:
    """`cached_views` passes over a split in one: each image is drawn anew in each."""
    if not config.train_transforms:
        raise InputError(
            "config.cached_views keeps random views, but config.train_transforms is empty: set one of them."
        )
    return split.take(np.tile(np.arange(len(split)), config.cached_views))


def open_data(config: Config) -> Dataset:
    """The config's domains, opened and cut."""
    images.use(config.image_library)
    if episodes_of(config):
        return open_by_class(config)
    how = {
        "seed": config.seed,
        "val_fraction": config.val_fraction,
        "skip_broken": config.skip_broken,
        "classes": config.classes,
        "kind": config.task,
        "outer": tuple(config.get("outer", ())) or None,
    }
    fold = (config.fold, config.folds) if config.fold >= 0 else None
    if config.get("tasks"):
        without(config, "config.tasks", (*ONE_KNOWN_TASK, "class_weights", "label_smoothing", "transferability"))
        if config.task != "classification":
            raise InputError(f"config.task='{config.task}' does not go with config.tasks: give the kind of each there.")
        del how["kind"], how["classes"]
        bent = [step for step, _ in (*config.train_transforms, *config.strong_transforms) if step in transforms.BENDING]
        if bent and any(task.get("of") in measured.MEASURES for _, task in config.tasks):
            raise InputError(
                f"config.train_transforms: {bent[0]} changes what config.tasks measures on the image as it was: leave "
                "it out; shift and random_crop change nothing."
            )
        return several.open_tasks(config.data, config.tasks, **how, per_class=config.labels_per_class, fold=fold)
    hidden = config.get("unlabelled", False)
    if hidden:
        without(config, "config.unlabelled", ("increment", "increments", "earlier"))
    if config.get("earlier", ""):
        without(config, "config.earlier", ("increment", "increments"))
    if hidden and (config.target or not config.labels_per_class):
        raise InputError(
            "config.unlabelled reads the images that config.labels_per_class leaves without labels: set that, and no "
            "config.target."
        )
    dataset = domains.open_domains(
        config.data,
        config.target,
        transductive=config.transductive,
        target_labels=config.target_labels,
        per_class=0 if hidden else config.labels_per_class,
        fold=fold,
        **how,
    )
    if hidden:
        return domains.few_labels(dataset, config.labels_per_class, config.seed)
    if config.get("increment", 0):
        return increments.group(dataset, config.increments, config.increment, config.exemplars, config.seed)
    if config.get("earlier", ""):
        earlier = domains.open_domains(config.earlier, per_class=config.exemplars, **how)
        return increments.beside(dataset, earlier, (config.data, config.earlier))
    return dataset


def without(config: Config, what: str, keys: Sequence[str]) -> None:
    """InputError where one of `keys` is set that makes no sense with `what`."""
    for key in keys:
        if config.get(key):
            raise InputError(f"config.{key}={config[key]!r} does not go with {what}: leave one of them out.")


def open_by_class(config: Config) -> Dataset:
    """The config's data for episodes: classes for training, for validation and for test."""
    what = "episodes, of classes that training does not know"
    without(config, what, (*ONE_KNOWN_TASK, "tasks", "labels_per_class", "folds"))
    opened = sources.open_whole(config.data, skip_broken=config.skip_broken, kind=config.task)
    asked = config.episode
    dataset = episodes.cut(opened, asked.classes, asked.rotations, asked.within, config.val_fraction)
    if not config.episode.test:
        return dataset
    kind, _, file = os.path.expandvars(config.episode.test).partition(":")
    shapes = episodes_of(config)
    if kind != "omniglot_runs" or not shapes or shapes.test != omniglot.RUN:
        raise InputError(
            f"config.episode.test='{config.episode.test}' must be omniglot_runs:FILE, of episodes with way=20, shot=1 "
            "and query=1."
        )
    runs = omniglot.runs(file)
    omniglot.check_unknown(runs, dataset)
    return dataclasses.replace(dataset, splits={**dataset.splits, "test": runs})


def training_transforms(config: Config, preprocess: Preprocess, stream: str = "") -> list[tuple[str, dict[str, Any]]]:
    """The config's transforms of a stream; they act on the evaluation's crop unless one of them sets the size."""
    chosen = config.strong_transforms if stream.endswith(STRONG) else config.train_transforms
    listed = [(name, dict(arguments)) for name, arguments in chosen]
    for name, arguments in listed:
        if name in ("random_resized_crop", "random_crop", "resize"):
            arguments.setdefault("size", preprocess.size)
    sized = any(name in ("random_resized_crop", "resize") for name, _ in listed)
    return listed if sized else [*transforms.evaluation(preprocess), *listed]
