"""What can be measured on an image of a stroke, light on dark, and be a task beside its class.

After Castro et al. 2019, Morpho-MNIST (arXiv:1809.10780, section 3): the image is enlarged and cut at half its range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from tl.data.base import Split
from tl.errors import InputError

ENLARGED = 4  # times: a stroke is a few pixels wide


def measured(split: Split, names: Sequence[str]) -> dict[str, np.ndarray]:
    """{name: (N,) float32} of each of MEASURES that is asked for, for all images."""
    if names and not split.pictures:
        raise InputError(f"config.tasks asks for '{names[0]}', which is measured on images: the data holds none.")
    if not names:
        return {}
    strokes = (ink(split.load(i), str(split.names[i])) for i in range(len(split)))
    rows = [[MEASURES[name](stroke) for name in names] for stroke in strokes]
    return dict(zip(names, np.array(rows, np.float32).T, strict=True))


def ink(image: np.ndarray, name: str = "an image") -> np.ndarray:
    """(H, W, 3) uint8 -> (4 H, 4 W) of True where there is a stroke; InputError for an image of one colour."""
    grey = np.asarray(ndimage.zoom(image.mean(axis=2), ENLARGED, order=1))
    if grey.max() == grey.min():
        raise InputError(f"{name} is of one colour and has no stroke to measure: leave it out, or what is measured.")
    return grey >= (grey.max() + grey.min()) / 2


def thickness(stroke: np.ndarray) -> float:
    """The mean width of the stroke in pixels of the image: twice the distance from its middle to its edge."""
    inside = np.pad(stroke, 1)
    far = np.asarray(ndimage.distance_transform_edt(inside))
    middle = inside & (far == ndimage.maximum_filter(far, size=3))
    # To the centre of the next pixel outside, from the centre of the stroke or half a pixel beside it.
    return float(2 * far[middle].mean() - 0.5) / ENLARGED


def slant(stroke: np.ndarray) -> float:
    """How far the stroke leans to the right, in pixels for each pixel upwards: -m11 / m02 of its central moments."""
    y, x = (values - values.mean() for values in np.nonzero(stroke))
    height = float((y * y).mean())
    return -float((x * y).mean()) / height if height else 0.0


MEASURES: dict[str, Callable[[np.ndarray], float]] = {"thickness": thickness, "slant": slant}
