"""Maps of where a finished network's answers come from; the mathematics is in tl/explain.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tl import explain
from tl.errors import InputError, unknown
from tl.net import Net

Predict = Callable[[Any, Mapping[str, jax.Array], Any], dict[str, jax.Array]]
METHODS = ("grad_cam", "integrated_gradients", "smoothgrad", "occlusion")
STEPS = 50  # of integrated gradients and of smoothgrad
SQUARE = 4  # the occluded square is a quarter of the side, and moves by a quarter of itself


def spatial_layer(net: Net, size: int) -> str:
    """The last map with more than one pixel behind which the network can go on; "" where there is none.

    There is none where a head reads earlier maps beside the last.
    """
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    maps = jax.eval_shape(lambda rows: net.maps({"image": rows}), image)
    spatial = [name for name, value in maps.items() if value.ndim == 4 and value.shape[1] * value.shape[2] > 1]
    read = {name for head in net.modules.values() for name in getattr(head, "maps", ())}
    if not spatial or read & set(list(maps)[: list(maps).index(spatial[-1])]):
        return ""
    return spatial[-1]


def score(predict: Predict, net: Net, memory: Any, task: str, column: jax.Array) -> Callable[..., jax.Array]:
    """(rows, field) -> (N,): the output of the task at each row's `column`, (N,) whole numbers."""

    def of(rows: jax.Array, field: str = "image") -> jax.Array:
        outputs = predict(net, {field: rows}, memory)[task]
        # Of one output, of a binary task, column 0 speaks against and column 1 for it.
        if outputs.shape[1] == 1:
            return outputs[:, 0] * (2 * column - 1).astype(outputs.dtype)
        return jnp.take_along_axis(outputs, column[:, None], axis=1)[:, 0]

    return of


def answered(outputs: jax.Array) -> jax.Array:
    """(N, outputs) -> (N,) the column that is explained: the largest, of one output by its sign."""
    return (outputs[:, 0] > 0).astype(jnp.int32) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def grad_cam(
    predict: Predict, net: Net, memory: Any, inputs: Mapping[str, jax.Array], task: str, layer: str
) -> jax.Array:
    """(N, h, w) in 0..1 for the class that the network answers."""
    values = net.maps(inputs)[layer]
    field = f"map/{layer}"
    column = answered(predict(net, {field: values}, memory)[task])
    return explain.to_unit(explain.grad_cam(partial(score(predict, net, memory, task, column), field=field), values))


def maps(
    method: str,
    predict: Predict,
    net: Net,
    memory: Any,
    image: jax.Array,
    task: str,
    *,
    steps: int = STEPS,
) -> jax.Array:
    """(N, size, size, 3) uint8 -> (N, h, w) in 0..1: how much each place matters to the answer of the network.

    InputError for a method that is none of METHODS and for Grad-CAM of a network without a map to show.
    """
    if method not in METHODS:
        raise unknown("explanation", method, METHODS)
    size = image.shape[1]
    if method == "grad_cam":
        layer = spatial_layer(net, size)
        if not layer:
            raise InputError("the network has no map behind which it goes on: take another --method than grad_cam.")
        return grad_cam(predict, net, memory, {"image": image}, task, layer)
    pixels = image.astype(jnp.float32)
    column = answered(predict(net, {"image": image}, memory)[task])
    of = score(predict, net, memory, task, column)
    if method == "integrated_gradients":
        # What speaks for the answer: the sizes of the shares are mostly those of the pixels, whatever the weights.
        found = explain.integrated_gradients(of, pixels, jnp.zeros_like(pixels), steps).sum(axis=-1)
    elif method == "smoothgrad":
        found = explain.strength(explain.smoothgrad(of, pixels, jax.random.key(0), samples=steps))
    else:
        square = max(1, size // SQUARE)
        mean = pixels.mean(axis=(1, 2), keepdims=True)
        found = explain.occlusion(of, pixels, square, max(1, square // SQUARE), mean)
    return explain.to_unit(found)
