"""What of a config can be wrong before anything is built, each in one sentence."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from tl import averages, inputs, models, tasks, zero_shot
from tl.config import Config
from tl.data.base import Dataset
from tl.errors import InputError, unknown
from tl.evaluators import figures, validators
from tl.methods.base import FACTS, Method
from tl.optim import paths
from tl.weights import Loaded

# Of images with classes, and of no graph.
CUTS = ("folds", "outer", "labels_per_class", "transferability", "skip_broken")
# How an argument of a method is annotated -> what may be given for it.
GIVEN = {"bool": bool, "int": int, "float": (int, float), "str": str, "tuple": (tuple, list)}


def arguments(module: Any, arguments: Mapping[str, Any]) -> None:
    """An argument that `module.make` does not take is the user's mistake."""
    known = [p for p in inspect.signature(module.make).parameters if p not in ("tasks", *FACTS)]
    for name, value in arguments.items():
        if name not in known:
            raise unknown(f"argument of the method {module.__name__.rsplit('.', 1)[-1]}", name, known)
        kind = str(inspect.signature(module.make).parameters[name].annotation)
        allowed = GIVEN.get(kind.split("[")[0], object)
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool"):
            raise InputError(f"config.method_args.{name}={value!r} is of the wrong kind: it must be {kind}.")


def numbers(config: Config) -> None:
    """Counts that would make no sense, or divide by zero much later."""
    least = {
        "save_every": 1,
        "log_every": 1,
        "eval_every": -1,
        "steps": -1,
        "epochs": 0,
        "patience": 0,
        "batch_size": 1,
        "cached_views": 0,
        "target_labels": 0,
        "increments": 0,
        "increment": 0,
        "exemplars": 0,
    }
    for key, bound in least.items():
        if config[key] < bound:
            raise InputError(f"config.{key}={config[key]} is too small: it must be at least {bound}.")
    then(config)
    averages.check(config)
    tags(config)
    rows(config)


def rows(config: Config) -> None:
    """Rows of a classifier are cut by zero_shot.seen, seed and val_fraction: other cuts, and classes, they have not."""
    if not zero_shot.asked(config):
        return
    what = "config.zero_shot, whose classes seen, seed and val_fraction cut"
    inputs.without(config, what, (*inputs.ONE_KNOWN_TASK, *CUTS, "tasks", "class_weights", "label_smoothing"))
    if config.fold >= 0 or config.get("episode", {"way": 0})["way"]:
        key = f"fold={config.fold}" if config.fold >= 0 else f"episode.way={config.episode.way}"
        raise InputError(f"config.{key} does not go with {what}: leave one of them out.")


def compared(config: Config, count: int) -> None:
    """InputError where a batch, or a piece of one, would not hold images of all `count` domains."""
    if config.batch_size // config.accumulate < 2 * count:
        raise InputError(
            f"config.batch_size={config.batch_size} leaves a domain of {count} with fewer than two images a step, too "
            f"few for '{config.method}' to compare: make it at least {2 * count * config.accumulate}."
        )
    if math.gcd(config.accumulate, count) > 1:
        raise InputError(
            f"config.accumulate={config.accumulate} would cut batches of {count} domains into pieces without some of "
            f"them, and all are needed in each: take a number that shares no divisor with {count}."
        )


def tags(config: Config) -> None:
    """Tags are of tokens: what is about whole sentences, or rows with a class, does not go with them."""
    if config.task != "tags":
        return
    if config.model not in models.of_tokens():
        raise InputError(
            f"config.model='{config.model}' gives no features of single tokens, of which config.task='tags' is made: "
            f"take {', '.join(models.of_tokens())}."
        )
    what = "config.task='tags'"
    inputs.without(config, what, (*inputs.ONE_KNOWN_TASK, "tasks", "transferability", "reduce"))
    about = {
        "bottleneck.width": config.get("bottleneck", {"width": 0})["width"],
        "head.maps": tuple(config.head.get("maps", ())),
        "head.pool": config.head.pool if config.head.pool != "gap" else "",
        "privacy.noise": config.get("privacy", {"noise": 0.0})["noise"],
        "episode.way": config.get("episode", {"way": 0})["way"],
        "data": config.data if "+" in config.data else "",
    }
    for key, value in about.items():
        if value:
            raise InputError(f"config.{key}={value!r} does not go with {what}: leave one of them out.")


def then(config: Config) -> None:
    """What config.then asks for is in the stages of the files that know it, made while they are read."""
    asked = config.get("then", "")
    if asked not in ("", "probe"):
        raise InputError(f"config.then='{asked}' must be probe, or nothing for fine-tuning.")
    if asked and not any("groups" in stage for stage in config.stages):
        raise InputError(
            "config.then='probe' is known to files such as configs/simclr.py while they are read: write it behind the "
            "file's name, --config configs/simclr.py:then=probe."
        )


def online(config: Config, method: Method, steps: int) -> None:
    """A method that learns at test time takes finished weights and the images to be answered, nothing before."""
    if not method.online:
        return
    if steps:
        raise InputError(f"the method '{config.method}' learns while it is tested: set config.steps=0, not {steps}.")
    if config.target:
        raise InputError(
            f"the method '{config.method}' sees nothing of the source: name the images to be answered in config.data "
            f"and leave config.target='{config.target}' out."
        )
    if config.get("eval_views", ()):
        raise InputError(
            f"the method '{config.method}' learns from each image as it comes: leave config.eval_views empty."
        )


def graph(config: Config, dataset: Dataset, loaded: Loaded | None) -> None:
    """A knowledge graph is cut already, and embeddings are of the very entities and relations they were learnt for."""
    if not dataset.relations:
        return
    inputs.without(config, "a knowledge graph, whose triples are cut already", (*inputs.ONE_KNOWN_TASK, *CUTS))
    if loaded and (loaded.classes, loaded.relations) != (dataset.classes, dataset.relations):
        raise InputError(
            f"the weights '{loaded.source}' are of other entities or relations than config.data='{config.data}': name "
            "the graph that they have learnt, or weights='none'."
        )


def select(config: Config, wanted: Mapping[str, tasks.Task], dataset: Dataset) -> None:
    """The metric to select on must be one that evaluations of val will give, and not one of test."""
    if averages.swad(config) and dataset.tasks:
        raise InputError("config.swad judges weights by val/loss, and each of config.tasks has its own: leave one out.")
    if averages.swad(config) and not len(dataset.splits.get("val", ())):
        raise InputError("config.swad judges weights by val, and there is none: set config.val_fraction above 0.")
    if not config.select and not config.patience:
        return
    known: list[str] = []
    for task in wanted.values() if len(dataset.splits.get("val", ())) else ():
        if not tasks.known(dataset.splits["val"].labels[task.name]).any():
            continue
        # Outputs of ones, of which every metric is defined: only its name is wanted.
        labels = np.zeros_like(dataset.splits["train"].labels[task.name][:2])
        probe = task.metrics(np.ones((*(labels.shape if task.kind == "tags" else (2,)), task.outputs)), labels)
        known += [f"{figures.prefix('val', task.name, wanted)}/{name}" for name in probe]
    if known and dataset.target and next(iter(wanted.values())).kind == "classification":
        known += [f"score/{name}" for name in validators.NAMES]
    if config.select not in known:
        raise unknown("metric in config.select", config.select, known or ["none, since there is no val split"])


def batch(config: Config, mesh: jax.sharding.Mesh) -> jax.sharding.Mesh:
    for key in ("batch_size", "eval_batch_size"):
        if config[key] % mesh.size:
            raise InputError(f"config.{key}={config[key]} is not divided by the {mesh.size} devices: take a multiple.")
    if config.batch_size <= 0 or config.accumulate <= 0 or (config.batch_size // mesh.size) % config.accumulate:
        raise InputError(
            f"config.batch_size={config.batch_size} cannot be cut into accumulate={config.accumulate} pieces on "
            f"{mesh.size} devices: each device's rows must divide by it."
        )
    groups, piece = config.get("norm_groups", 0), config.batch_size // config.accumulate
    if groups < 0 or (groups and piece % groups):
        raise InputError(
            f"config.norm_groups={groups} must divide the {piece} rows that go through the network at once (batch_size "
            "over accumulate), or be 0 for the statistics of them all."
        )
    if groups and config.get("domain_norm", False):
        raise InputError("config.domain_norm and norm_groups both cut the rows of batch norm: leave one of them.")
    return mesh


def private(config: Config, method: Method) -> dict[str, float] | None:
    """`clip` and `noise` of DP-SGD, None for none; InputError for values, and for a method, that cannot be."""
    how = config.get("privacy", {"noise": 0.0})
    if not how["noise"]:
        if any(how.values()):
            raise InputError("config.privacy is off while its noise is 0: set noise, or leave clip and delta at 0.")
        return None
    for key, value in how.items():
        high = np.inf if key in ("noise", "clip") else 1
        if not 0 <= value < high:
            raise InputError(f"config.privacy.{key}={value} must not be negative, and be less than {high:g}.")
    if not method.by_row:
        raise InputError(
            f"config.privacy treats every image by itself, and the method '{config.method}' compares several or keeps "
            "something of them: take a plain one, such as finetune, without mixup and cutmix."
        )
    for key in ("class_weights", "reduce", "stages", "transferability", "increments"):
        if config.get(key):
            raise InputError(f"config.privacy does not count what config.{key} learns of the images: leave one out.")
    if config.accumulate > 1:
        raise InputError("config.privacy treats every image by itself: leave config.accumulate at 1.")
    return {"clip": how["clip"] or 1.0, "noise": how["noise"]}


def seen_alike(config: Config, dataset: Dataset) -> None:
    """InputError where the epsilon would not be that of every image: some are seen more often, or twice in a batch."""
    if dataset.domains or config.batch_size > len(dataset.splits["train"]):
        raise InputError(
            "config.privacy counts every training image once in an epoch: name one domain in config.data, and a "
            f"batch_size of at most its {len(dataset.splits['train'])} images."
        )


def no_batch_statistics(stats: Mapping[str, Any], own_stats: Callable[[str], bool]) -> None:
    """InputError where batch norm would use those of the batch."""
    if moving := moving_statistics(stats, own_stats):
        raise InputError(
            f"config.privacy treats every image by itself, and batch norm at {moving[0]} uses the whole batch: set "
            "frozen_stats=all for pretrained statistics, or take a network with group norm."
        )


def some_batch_statistics(stats: Mapping[str, Any], own_stats: Callable[[str], bool]) -> None:
    """InputError where no batch norm would use them."""
    if not moving_statistics(stats, own_stats):
        raise InputError(
            "config.domain_norm=True is about batch norm that learns, and none does here: set bottleneck.norm=True and "
            "a bottleneck.width, unfreeze a backbone that has it, or leave domain_norm False."
        )


def moving_statistics(stats: Mapping[str, Any], own_stats: Callable[[str], bool]) -> list[str]:
    """The batch norms that use statistics of the batch."""
    return sorted({path.rsplit("/", 1)[0] for path in paths(stats) if own_stats(path.rsplit("/", 1)[0])})
