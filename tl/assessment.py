"""What a finished classifier is worth beyond accuracy: certainty, groups, corrupted and attacked images, secrets."""

from __future__ import annotations

import csv
import dataclasses
import logging
import pathlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tl import attacks, fairness, inputs, losses, metrics, predictor
from tl import config as configs
from tl.data import corruptions
from tl.data.base import Dataset, Split
from tl.errors import InputError, unknown
from tl.predictor import Predictor
from tl.tasks import Task

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Assessed:
    """A finished run, its data, and the set it is judged by."""

    predictor: Predictor
    task: Task
    dataset: Dataset
    split: Split
    name: str
    seed: int

    @property
    def labels(self) -> np.ndarray:
        return self.split.labels[self.task.name]


def opened(workdir: pathlib.Path, name: str = "test", most: int = 0) -> Assessed:
    """The run in `workdir`, and its set `name` or, drawn by seed, `most` images of it.

    InputError where it is no classifier of images, and where its data have no such set.
    """
    loaded = predictor.load(workdir)
    loaded.of_images()
    config = predictor.last_stage(configs.from_json((workdir / "config.json").read_text()))
    (task, *others) = loaded.tasks.values()
    if others or task.kind not in ("classification", "binary") or not task.classes:
        raise InputError(f"'{workdir}' is no classifier of one task: only one of these can be judged here.")
    dataset = inputs.open_data(config)
    held = {key: split for key, split in dataset.splits.items() if key in ("train", "val", "test", "target")}
    if name not in held:
        raise unknown("set of images", name, held)
    split = held[name]
    if most and len(split) > most:
        split = split.take(np.sort(np.random.default_rng(config.seed).permutation(len(split))[:most]))
    return Assessed(loaded, task, dataset, split, name, config.seed)


def logits(of: Assessed, split: Split, **how: Any) -> np.ndarray:
    """(N, C) outputs, of a binary task as those of two classes."""
    return two_sided(of.predictor.outputs(split, **how)[of.task.name])


def two_sided(outputs: Any, pad: Callable[..., Any] = np.pad) -> Any:
    """(N, 1) outputs of a binary task as (N, 2) of two classes; others as they are."""
    return pad(outputs, ((0, 0), (1, 0))) if outputs.shape[1] == 1 else outputs


def calibration(of: Assessed) -> dict[str, float]:
    """The loss and the calibration error as they are, and with outputs divided by a temperature fitted on val.

    The latter where there is a val in which some answer is wrong, and it is not what is judged.
    """
    val, plain = of.dataset.splits.get("val"), logits(of, of.split)
    found, ways = {}, {"as it is": plain}
    if val and of.name != "val":
        fitted = metrics.temperature(logits(of, val), val.labels[of.task.name].astype(np.int64))
        if np.isfinite(fitted):
            found["temperature"] = fitted
            ways["calibrated"] = plain / fitted
        else:
            log.warning(
                "no temperature can be fitted: all %d images of val are answered right; a larger val may have mistakes",
                len(val),
            )
    for name, values in ways.items():
        figures = metrics.classification(values, of.labels)
        found |= {f"{name}/{key}": figures[key] for key in ("accuracy", "loss", "ece")}
    return found


def group_names(of: Assessed, by: str) -> np.ndarray:
    """(N,) the group of each image: `domain`, `folder:N`, level N of its file's path from the end, or a table's column.

    A table is FILE.csv#COLUMN, with the images' names in its column `file`, as a report and predictions.npz have them
    or ends of these. InputError where an image has no group, or all have the same.
    """
    kind, _, level = by.partition(":")
    if by == "domain":
        if "domain" not in of.split.labels:
            raise InputError("--groups domain: this run's data are of one domain; name several in config.data.")
        found = np.array(of.dataset.domains)[of.split.labels["domain"]]
    elif kind == "folder":
        if not level.isdigit() or not int(level):
            raise InputError(f"--groups {by} must be folder:N, with N=1 for the folder a file lies in, 2 for the next.")
        parts = [pathlib.PurePosixPath(str(name)).parts[:-1] for name in of.split.names]
        if any(len(folders) < int(level) for folders in parts):
            raise InputError(f"--groups {by}: '{of.split.names[0]}' lies in no so deep a folder: take a lower number.")
        found = np.array([folders[-int(level)] for folders in parts])
    else:
        found = _of_table(of, by)
    if len(np.unique(found)) < 2:
        raise InputError(f"--groups {by}: all images are of the group '{found[0]}', and there is nothing to compare.")
    return found


def _of_table(of: Assessed, by: str) -> np.ndarray:
    file, _, column = by.rpartition("#")
    if not file or not pathlib.Path(file).is_file():
        raise InputError(f"--groups {by} must be domain, folder:N or FILE.csv#COLUMN, and there is no file '{file}'.")
    try:
        with pathlib.Path(file).open(newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text))
    except UnicodeDecodeError as error:
        raise InputError(f"'{file}' is no text in UTF-8 ({error.reason}): save it as that.") from error
    if not rows or not {"file", column} <= rows[0].keys():
        raise unknown(f"column of '{file}' (with `file`)", column, rows[0] if rows else ())
    known: dict[str, str] = {}
    for row in rows:
        if not row[column] or known.setdefault(row["file"], row[column]) != row[column]:
            raise InputError(f"'{file}' must give '{row['file']}' one {column}, and gives it none, or two.")
    found, used = [], {}
    for name in map(str, of.split.names):
        ends = (name, *("/".join(name.split("/")[i:]) for i in range(1, name.count("/") + 1)))
        own = next((end for end in ends if end in known), None)
        if own is None:
            raise InputError(f"'{file}' has no row for '{name}': give every image of the set {of.name} a group.")
        if used.setdefault(own, name) != name:
            raise InputError(
                f"'{file}' has a row for '{own}', in which '{used[own]}' and '{name}' both end: write more of them."
            )
        found.append(known[own])
    return np.array(found)


def fair(of: Assessed, groups: np.ndarray, times: int = 1000) -> dict[str, Any]:
    """Figures of each group, the gaps between them, and 95 % bootstrap intervals of gaps and of `group/NAME`.

    The latter is a group's accuracy.
    """
    predicted, classes = logits(of, of.split).argmax(axis=1), max(2, len(of.task.classes))
    labels = of.labels.astype(np.int64)
    table = {"labels": labels, "predicted": predicted, "groups": groups}

    def figures(**table: np.ndarray) -> dict[str, float]:
        each = fairness.by_group(**table, classes=classes)
        own = {f"group/{name}": row["accuracy"] for name, row in each.items()}
        return own | fairness.gaps(**table, classes=classes)

    return {
        "groups": fairness.by_group(**table, classes=classes),
        "gaps": fairness.gaps(**table, classes=classes),
        "intervals": fairness.intervals(figures, table, times=times, seed=of.seed),
    }


def corrupted(of: Assessed, kinds: Sequence[str]) -> dict[str, list[float]]:
    """{kind: accuracy at each of the five levels}, of images as the network sees them."""

    def accuracy(kind: str, level: int) -> float:
        def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return corruptions.corrupted(image, kind, level, rng)

        return float((logits(of, of.split, change=change).argmax(axis=1) == of.labels).mean())

    return {kind: [accuracy(kind, level) for level in corruptions.LEVELS] for kind in kinds}


def attacked(of: Assessed, epsilons: Sequence[float], steps: int = 20) -> dict[str, dict[str, float]]:
    """{attack: {epsilon: accuracy}} of FGSM and PGD; `epsilons` are the most a pixel may change, in 0..255."""
    loaded, task = of.predictor, of.task

    def outputs(variables: Any, image: jax.Array) -> jax.Array:
        params, stats, memory = variables
        net = dataclasses.replace(loaded.net, params=params, stats=stats)
        return two_sided(loaded.over_views(net, {"image": image}, memory)[task.name], jnp.pad)

    @partial(jax.jit, static_argnames="attack")
    def answers(variables: Any, image: jax.Array, labels: jax.Array, epsilon: jax.Array, *, attack: str) -> jax.Array:
        loss = lambda x: losses.cross_entropy(outputs(variables, x), labels.astype(jnp.int32))  # noqa: E731
        image = image.astype(jnp.float32)
        if attack == "FGSM":
            return outputs(variables, attacks.fgsm(loss, image, epsilon))
        return outputs(variables, attacks.pgd(loss, image, epsilon, jax.random.key(of.seed), steps))

    def accuracy(attack: str, epsilon: float) -> float:
        def run(variables: Any, batch: Any) -> dict[str, jax.Array]:
            said = answers(variables, batch["image"], batch[task.name], jnp.float32(epsilon), attack=attack)
            return {"said": said}

        return float((loaded.collected(of.split, run)["said"].argmax(axis=1) == of.labels).mean())

    return {attack: {f"{e:g}": accuracy(attack, e) for e in epsilons} for attack in ("FGSM", "PGD")}


def secrets(of: Assessed) -> dict[str, float]:
    """How well the loss of an image tells whether it was trained on, see metrics.membership."""

    def loss(split: Split) -> np.ndarray:
        labels = split.labels[of.task.name].astype(np.int64)
        return -np.log(np.maximum(metrics.softmax(logits(of, split))[np.arange(len(labels)), labels], 1e-300))

    return metrics.membership(loss(of.dataset.splits["train"]), loss(of.split))
