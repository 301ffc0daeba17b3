"""Backbones by name: `make("resnet50")` is a Flax module that returns every stage's map."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import flax.linen as nn

from tl import errors
from tl.models import bert, bit, conv4, lenet, lstm, mobilenet_v2, resnet, resnet_cifar, textcnn, triples, vectors, vgg
from tl.preprocess import Preprocess

FAMILIES: tuple[ModuleType, ...] = (
    *(resnet, resnet_cifar, vgg, mobilenet_v2, bit, lenet, conv4, vectors),
    *(bert, textcnn, lstm, triples),
)
DTYPES = ("float32", "bfloat16", "float64")


def names() -> tuple[str, ...]:
    """Names of all backbones."""
    return tuple(name for family in FAMILIES for name in family.VARIANTS)


def family(name: str) -> ModuleType:
    """The file that describes `name`; InputError for an unknown one."""
    for module in FAMILIES:
        if name in module.VARIANTS:
            return module
    raise errors.unknown("model", name, names())


def reads(name: str) -> str:
    """The field of a batch that the backbone `name` reads."""
    return getattr(family(name).Backbone, "reads", "image")


def reading(field: str, *, numbers: bool = False) -> tuple[str, ...]:
    """Names of the backbones that read this field of a batch; `numbers`: in place of images, vectors."""
    return tuple(
        name
        for module in FAMILIES
        for name in module.VARIANTS
        if reads(name) == field and (module is vectors) == numbers
    )


def of_tokens() -> tuple[str, ...]:
    """Names of the backbones that have a map with a row for each token, their `token_map`."""
    return tuple(name for name in names() if hasattr(family(name).Backbone, "token_map"))


def preprocess(name: str) -> Preprocess:
    """How the published weights of `name` want their images."""
    return family(name).PREPROCESS[name]


def arguments(name: str, **args: Any) -> dict[str, Any]:
    """The arguments of the backbone `name`, with `args` for its own; InputError for an unknown one."""
    module = family(name)
    known = [field.name for field in dataclasses.fields(module.Backbone) if field.name not in ("parent", "name")]
    for key in args:
        if key not in known:
            raise errors.unknown(f"argument of model {name}", key, known)
    if args.get("dtype", "float32") not in DTYPES:
        raise errors.unknown("dtype", str(args["dtype"]), DTYPES)
    # Configs hold lists where modules need something that hashes.
    args = {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}
    return {**module.VARIANTS[name], **args}


def make(name: str, *, dtype: str = "float32", **args: Any) -> nn.Module:
    """The backbone `name`: `apply(variables, x, mode, start) -> {map name: array}`, last "pooled" (N, D).

    x is (N, H, W, 3), normalised, or what the backbone `reads`; with `start` it is the map of that name and the
    network goes on behind it.
    `dtype` is that of the computation; parameters and statistics are float32, or float64 when it is float64.
    """
    return family(name).Backbone(**arguments(name, dtype=dtype, **args))
