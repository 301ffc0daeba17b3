"""Reverse validation: is what a run learnt of the target enough to learn the source back from it?"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tl import config as configs
from tl import finish, hosts, train
from tl.config import Config
from tl.data.base import Dataset
from tl.errors import InputError
from tl.report.files import plain, write_atomic

NAME = "score/reverse"
# The backward run's data have no val and no test: it ends with its last step.
BACKWARD = {"select": "", "patience": 0, "swad": (), "evaluate_before": False, "reverse_validation": False}


def validated(
    config: Config, folder: pathlib.Path, experiment: Callable[..., train.Experiment], *, quiet: bool, report: bool
) -> dict[str, Any]:
    """The run, then the same one backwards in `folder/reverse`, whose accuracy is the summary's `score/reverse`.

    Backwards the target's images with the labels that the run predicts for them are the source, and the source's
    images without labels the target; the source's validation images, which neither has trained on, are the test
    (Zhong et al. 2010; Ganin et al. 2016, section 5.1.3). No label of the target is used.
    """
    if not config.target or not config.val_fraction:
        raise InputError(
            "config.reverse_validation needs a target (config.target) and val images of the source (val_fraction)."
        )
    if config.task != "classification":
        raise InputError(
            f"config.reverse_validation predicts classes: it needs task=classification, not {config.task}."
        )
    forward = experiment(config)
    ends = folder / "forward"
    summary = finish.finished(ends) or finish.complete(forward, ends, quiet=quiet, report=report)
    hosts.barrier("forward")
    backward = configs.merged(config, dict(BACKWARD))
    dataset = turned(forward.dataset, np.load(ends / "predictions.npz")["pool/outputs/label"].argmax(axis=1))
    back = finish.finished(folder / "reverse") or finish.complete(
        experiment(backward, dataset=dataset), folder / "reverse", quiet=quiet, report=report
    )
    summary = {**summary, NAME: back["target/accuracy"]}
    if jax.process_index() == 0:
        for name in ("weights.safetensors", "predictions.npz", "report.html", "config.json"):
            if not (ends / name).is_file():  # no page is written without `report`
                continue
            write_atomic(folder / name, (ends / name).read_bytes())
        write_atomic(folder / "summary.json", json.dumps(plain(summary), indent=1))
    return summary


def turned(dataset: Dataset, predicted: np.ndarray) -> Dataset:
    """Source and target in each other's place, the target's labels (N,) as predicted."""
    train_split, pool = dataset.splits["train"], dataset.splits["unlabelled"]
    splits = {
        "train": dataclasses.replace(pool, labels={"label": predicted.astype(np.int32)}),
        "unlabelled": dataclasses.replace(train_split, labels={}),
        "target": dataset.splits["val"],
    }
    return dataclasses.replace(dataset, splits=splits, domains=(), target="source")
