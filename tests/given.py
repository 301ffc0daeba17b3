"""A network of given numbers, for losses that are worked by hand."""

import numpy as np


class Parts:
    """A net of given numbers: what a row is, and parts by name."""

    def __init__(self, **parts):
        self.__dict__.update(parts)

    def features(self, inputs):
        return inputs["image"]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
