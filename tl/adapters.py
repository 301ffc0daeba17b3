"""Few new parameters beside frozen kernels, which the network adds to them: it runs on, and a run exports, their sum.

Low-rank adaptation (Hu et al. 2022, arXiv:2106.09685, section 4.1): kernel + alpha / rank * a b, a and b thin; a kernel
(..., inputs, outputs) of a convolution is the matrix (... * inputs, outputs). Parallel adapters (Rebuffi et al. 2018,
arXiv:1803.10082): a convolution of one pixel beside a larger one, which is the same as more at its middle tap; for a
dense layer that is a second matrix.

Those between the layers of an encoder of sentences (model_args.adapter, tl/models/bert.py) are layers, and stay.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tl.config import Config
from tl.errors import InputError
from tl.optim import kernels

A, B, PARALLEL = "lora_a", "lora_b", "adapter"


def added(params: Mapping[str, Any], config: Config, key: jax.Array) -> dict[str, Any]:
    """`params` with what config.lora and config.adapters put beside kernels; it adds nothing yet."""
    rank, layers = config.lora.rank, config.lora.layers or "backbone/"
    if rank < 0 or (not rank and (config.lora.alpha or config.lora.layers)):
        raise InputError(f"config.lora.rank={rank} learns nothing: it must be 1 or more, or all of config.lora unset.")
    tree: Any = jax.tree.map(lambda leaf: leaf, params)  # containers of its own
    for path in kernels(params, "config.adapters", config.adapters) if config.adapters else ():
        node = _at(tree, path)
        node[PARALLEL] = jnp.zeros(node["kernel"].shape[-2:], node["kernel"].dtype)
    if not rank:
        return tree
    shapes = kernels(params, "config.lora.layers", layers)
    small = {path: _sides(leaf) for path, leaf in shapes.items() if rank > min(_sides(leaf))}
    if small:
        path, sides = min(small.items())
        raise InputError(
            f"config.lora.rank={rank} is larger than {len(small)} layers, among them {path}, a matrix {sides[0]} x "
            f"{sides[1]}: take a lower rank, or leave such layers out of config.lora.layers."
        )
    for path, kernel in shapes.items():
        inputs, outputs = _sides(kernel)
        node = _at(tree, path)
        own = jax.random.fold_in(key, zlib.crc32(path.encode()))
        node[A] = jax.random.normal(own, (inputs, rank), kernel.dtype) / math.sqrt(inputs)
        node[B] = jnp.zeros((rank, outputs), kernel.dtype)
    return tree


def merged(params: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The tree of the network itself: every kernel with what lies beside it, and nothing beside it."""
    if not config.lora.rank and not config.adapters:
        return dict(params)

    def walk(node: Any) -> Any:
        if not isinstance(node, Mapping):
            return node
        inside = {name: walk(child) for name, child in node.items() if name not in (A, B, PARALLEL)}
        if A in node:
            scale = config.lora.alpha / config.lora.rank or 2.0
            kernel = inside["kernel"]
            inside["kernel"] = kernel + (scale * (node[A] @ node[B])).reshape(kernel.shape)
        if PARALLEL in node:
            kernel = inside["kernel"]
            middle = tuple(size // 2 for size in kernel.shape[:-2])
            inside["kernel"] = jnp.asarray(kernel).at[middle].add(node[PARALLEL])
        return inside

    return walk(params)


def own(path: str) -> bool:
    """Whether a leaf is one of these and not the network's."""
    return path.rsplit("/", 1)[-1] in (A, B, PARALLEL)


def between(path: str) -> bool:
    """Whether a leaf is one of an adapter that is a layer of the network: weights of other runs need not bring it."""
    return re.search(r"/adapter\d/", path) is not None


def _sides(kernel: Any) -> tuple[int, int]:
    return math.prod(kernel.shape[:-1]), kernel.shape[-1]


def _at(tree: Any, path: str) -> Any:
    for name in path.split("/"):
        tree = tree[name]
    return tree
