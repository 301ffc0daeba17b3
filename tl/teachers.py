"""A finished network, of a run or a weights file, as one frozen part of another: the teacher of a student."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from tl import models, weights
from tl.config import Config
from tl.errors import InputError
from tl.methods.base import Part
from tl.models.heads import Bottleneck, Head, Reduction, Whole

PARTS = ("backbone", "reduce", "bottleneck", "head")


def make(config: Config) -> Part | None:
    """The part that config.teacher names, with its weights and preprocessing; None where it names none.

    Of a run (`run:W`) model and arguments are known; of a file they are config.teacher.model and .model_args, or the
    student's. InputError for weights without a classifier.
    """
    spec = config.teacher.weights
    if not spec:
        return None
    model, arguments = _model(config, spec)
    loaded = weights.load(spec, model, arguments)
    flat = {path: leaf for path, leaf in (loaded.flat if loaded else {}).items() if path.split("/")[1] in PARTS}
    if "params/head/kernel" not in flat:
        raise InputError(
            f"the teacher '{spec}' has no classifier of one task: name weights with one in config.teacher.weights."
        )
    assert loaded is not None
    about = _config(spec).get("head", {})
    how = {"maps": tuple(about.get("maps", ())), "pool": about.get("pool", "gap"), "dtype": config.dtype}
    outputs = flat["params/head/kernel"].shape[-1]
    hidden = _widths(flat, "params/head/fc{}/kernel")
    arguments = {**loaded.arguments, **arguments}
    reads = [getattr(models.make(*one), "reads", "image") for one in ((model,), (config.model,))]
    if reads[0] != reads[1]:
        raise InputError(f"the teacher '{spec}' reads {reads[0]} and the student {reads[1]}: name one of its kind.")

    def whole() -> Whole:
        bottleneck = reduce = None
        if "params/reduce/kernel" in flat:
            reduce = Reduction(flat["params/reduce/kernel"].shape[-1])
        if "params/bottleneck/fc/kernel" in flat:
            width, norm = flat["params/bottleneck/fc/kernel"].shape[-1], "params/bottleneck/bn/scale" in flat
            bottleneck = Bottleneck(width, norm, dtype=config.dtype)
        backbone = models.make(model, dtype=config.dtype, **arguments)
        return Whole(backbone, Head(outputs, hidden, **how), reduce, bottleneck)

    return Part(
        whole,
        trained=False,
        preprocess=loaded.preprocess or models.preprocess(model),
        leaves=flat,
        outputs=outputs,
        classes=loaded.classes or (),
        source=spec,
    )


def _config(spec: str) -> dict[str, Any]:
    """The config of a run, {} for weights from elsewhere."""
    held = pathlib.Path(spec.removeprefix("run:")) / "config.json"
    return json.loads(held.read_text()) if spec.startswith("run:") and held.is_file() else {}


def _model(config: Config, spec: str) -> tuple[str, dict[str, Any]]:
    given = config.teacher.model, config.teacher.model_args.to_dict()
    known = _config(spec)
    if not given[0] and known:
        return known["model"], given[1] or known["model_args"]
    return given[0] or config.model, given[1] or ({} if given[0] else config.model_args.to_dict())


def _widths(flat: Any, name: str) -> tuple[int, ...]:
    """Widths of the numbered layers that are there."""
    found = []
    while (path := name.format(len(found) + 1)) in flat:
        found.append(flat[path].shape[-1])
    return tuple(found)
