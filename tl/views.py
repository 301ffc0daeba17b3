"""Views of an image, over which evaluation and prediction may average what a network says of it (config.eval_views)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tl.errors import InputError, unknown

Rows = Mapping[str, jax.Array]
Predict = Callable[[Any, Rows, Any], dict[str, jax.Array]]


def mirrored(image: jax.Array) -> jax.Array:
    """(N, H, W, C), left for right."""
    return image[:, :, ::-1]


def enlarged(image: jax.Array) -> jax.Array:
    """(N, H, W, C) -> the same size in float32: the middle, a sixteenth cut off at each edge, interpolated linearly."""
    height, width = image.shape[1:3]
    top, left = -(-height // 16), -(-width // 16)  # a pixel at least
    central = image[:, top : height - top, left : width - left]
    return jax.image.resize(central.astype(jnp.float32), image.shape, "linear")


VIEWS = {"flip": mirrored, "zoom": enlarged, "zoom_flip": lambda image: mirrored(enlarged(image))}


def check(names: Sequence[str], *, pictures: bool) -> None:
    """InputError for a view that is not there, or stands there twice, and where there are no pictures to be viewed."""
    for name in names:
        if name not in VIEWS:
            raise unknown("view of config.eval_views", name, VIEWS)
    if len(set(names)) < len(names):
        raise InputError(f"config.eval_views={tuple(names)} names a view twice: name each once.")
    if names and not pictures:
        raise InputError(
            f"config.eval_views={tuple(names)} are views of images, and the data holds none: leave it empty."
        )


def kept(field: str, name: str) -> str:
    """The field in which the frozen map that is kept in `field` of an image is kept of its view `name`."""
    return f"{field}@{name}"


def seen(rows: Rows, name: str) -> dict[str, jax.Array]:
    """`rows` as the view `name` shows them: its image, or what is kept of it in place of a map."""
    if "image" in rows:
        return {**rows, "image": VIEWS[name](rows["image"])}
    return {field: rows.get(kept(field, name), values) for field, values in rows.items() if "@" not in field}


def averaged(predict: Predict, names: Sequence[str]) -> Predict:
    """`predict` whose outputs are the mean over the image as it is and its views `names` (Krizhevsky et al. 2012, 4.1).

    The mean of logits, which is the normalised geometric mean of the probabilities.
    """
    if not names:
        return predict

    def run(net: Any, rows: Rows, memory: Any) -> dict[str, jax.Array]:
        # The image itself comes last, so that the network still holds its features for whoever asks next.
        answers = [predict(net, few, memory) for few in (*(seen(rows, name) for name in names), rows)]
        return jax.tree.map(lambda *outputs: sum(outputs) / len(outputs), *answers)

    return run
