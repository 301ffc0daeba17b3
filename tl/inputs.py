"""What a run reads, made of its config: training streams, passes over them, cached views, evaluation sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tl import models
from tl.config import Config
from tl.data import domains, images, increments, streams, transforms
from tl.data.base import Dataset, Split
from tl.data.order import STRONG
from tl.errors import InputError
from tl.preprocess import Preprocess

AT_THE_END = ("test", "pool", "earlier")  # sets that are evaluated once, with the selected weights
SAMPLE = 500  # images of `reference` and `unlabelled`: scores without labels cost the square of it


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Each by the name of its stream, but for `evals`, which go by the name of their split."""

    streams: Mapping[str, Any]
    passes: Mapping[str, streams.EvalBatches]
    views: Mapping[str, streams.EvalBatches]
    evals: Mapping[str, streams.EvalBatches]


def make(
    config: Config, names: Sequence[str], dataset: Dataset, preprocess: Preprocess, mesh: jax.sharding.Mesh
) -> Inputs:
    """Streams for `names`, those of the method."""
    splits = {name: stream_split(name, dataset, config) for name in names}
    check_kind(config, dataset)
    steps = {name: training_transforms(config, preprocess, name) for name in names}
    usual = transforms.evaluation(preprocess)
    if dataset.splits["train"].width:
        steps, usual = {name: [] for name in names}, []
    chosen = {name: transforms.compose(listed) for name, listed in steps.items()}
    plain = transforms.compose(usual)
    batch = config.eval_batch_size or config.batch_size
    return Inputs(
        {
            name: streams.train_stream(split, chosen[name], batch_size=config.batch_size, seed=config.seed, name=name)
            for name, split in splits.items()
        },
        {name: streams.eval_batches(split, plain, batch, mesh) for name, split in splits.items()},
        {
            name: streams.eval_batches(repeated(split, config), chosen[name], batch, mesh)
            for name, split in splits.items()
            if config.cached_views
        },
        {
            name: streams.eval_batches(split, plain, batch, mesh)
            for name, split in evaluated(dataset, config.seed, config.get("reverse_validation", False)).items()
        },
    )


def check_kind(config: Config, dataset: Dataset) -> None:
    """Vectors and images each need a model and transforms of their own kind."""
    width = dataset.splits["train"].width
    if bool(width) != (config.model == "vectors"):
        held = f"vectors of {width} numbers: set config.model='vectors'" if width else "images: choose another model"
        raise InputError(f"config.model='{config.model}' does not go with config.data, which holds {held}.")
    for key in ("train_transforms", "strong_transforms"):
        if width and config[key]:
            raise InputError(f"config.{key} changes images, but config.data holds vectors: set it to ().")


def stream_split(name: str, dataset: Dataset, config: Config) -> Split:
    """The images of a stream: `train`, `target`, `earlier`, `exemplars`, and `NAME_strong` for other views of those."""
    held = {"train": "train", "target": "unlabelled", "earlier": "earlier", "exemplars": "exemplars"}
    kind = held.get(name.removesuffix(STRONG), "")
    if kind not in dataset.splits and kind in ("earlier", "exemplars"):
        raise InputError(
            f"the method '{config.method}' keeps images of what was learnt: set config.exemplars to how many "
            "of each class, with config.increments, or config.earlier to their data."
        )
    if kind not in dataset.splits:
        raise InputError(
            f"the method '{config.method}' reads the stream '{name}', and there is none: set config.target to data of "
            "the domain to adapt to."
        )
    if name.endswith(STRONG) and not config.strong_transforms:
        raise InputError(
            f"the method '{config.method}' compares two views of an image: set config.strong_transforms for the second."
        )
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
    how = {
        "seed": config.seed,
        "val_fraction": config.val_fraction,
        "skip_broken": config.skip_broken,
        "classes": config.classes,
        "kind": config.task,
        "outer": tuple(config.get("outer", ())) or None,
    }
    dataset = domains.open_domains(
        config.data,
        config.target,
        transductive=config.transductive,
        target_labels=config.target_labels,
        per_class=config.labels_per_class,
        fold=(config.fold, config.folds) if config.fold >= 0 else None,
        **how,
    )
    if config.get("increment", 0):
        return increments.group(dataset, config.increments, config.increment, config.exemplars, config.seed)
    if config.get("earlier", ""):
        earlier = domains.open_domains(config.earlier, per_class=config.exemplars, **how)
        return increments.beside(dataset, earlier, (config.data, config.earlier))
    return dataset


def make_preprocess(config: Config, own: Preprocess | None) -> Preprocess:
    """The weights' preprocessing, else the model's, with what the config sets in its place."""
    base = own or models.preprocess(config.model)
    size = config.image_size or base.size
    resize = config.resize or round(size * base.resize / base.size)
    if resize < size:
        raise InputError(
            f"config.resize={resize} is smaller than the crop of image_size={size}: make it at least that."
        )
    return Preprocess(size, resize, tuple(config.mean) or base.mean, tuple(config.std) or base.std)


def training_transforms(config: Config, preprocess: Preprocess, stream: str = "") -> list[tuple[str, dict[str, Any]]]:
    """The config's transforms of a stream; they act on the evaluation's crop unless one of them sets the size."""
    chosen = config.strong_transforms if stream.endswith(STRONG) else config.train_transforms
    listed = [(name, dict(arguments)) for name, arguments in chosen]
    for name, arguments in listed:
        if name in ("random_resized_crop", "random_crop", "resize"):
            arguments.setdefault("size", preprocess.size)
    sized = any(name in ("random_resized_crop", "resize") for name, _ in listed)
    return listed if sized else [*transforms.evaluation(preprocess), *listed]
