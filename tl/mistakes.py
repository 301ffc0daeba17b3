"""Where the answers of a run to the images that it mistakes most surely come from, for its report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tl import explanations, train
from tl.data import transforms
from tl.preprocess import Preprocess
from tl.report.images import overlay

WAYS = {"grad_cam": "Grad-CAM", "integrated_gradients": "integrated gradients"}
STEPS = 16  # of the integral: a picture needs fewer than a sum that comes out, and each costs a step of training


def overlays(work: train.Run, images: Sequence[np.ndarray], task: str) -> dict[str, np.ndarray]:
    """{what it is: (N, size, size, 3) uint8}: the images as the network sees them, and under maps of their answers.

    {} where there is none to show: no mistakes, answers that need other images or a pass over data, several hosts, of
    which one alone writes the report. Grad-CAM is left out where the network has no map in space.
    """
    experiment = work.experiment
    method, preprocess = experiment.method, experiment.preprocess["backbone"]
    apart = experiment.together > 1 or method.online or method.ready or jax.process_count() > 1
    if apart or not len(images) or not isinstance(preprocess, Preprocess):
        return {}
    chain = transforms.compose(transforms.evaluation(preprocess))
    seen = np.stack([chain(image, np.random.default_rng(0)) for image in images])

    @partial(jax.jit, static_argnames="way")
    def draw(variables, memory, image, *, way):
        return explanations.maps(way, method.predict, work.bind(**variables), memory, image, task, steps=STEPS)

    found = {"images": seen}
    space = explanations.spatial_layer(work.bind(**work.state.variables), preprocess.size)
    for way, name in WAYS.items():
        if space or way != "grad_cam":
            maps = np.asarray(draw(work.state.variables, work.state.memory, jnp.asarray(seen), way=way))
            drawn = [overlay(image, values) for image, values in zip(seen, maps, strict=True)]
            found[f"where the answer comes from ({name})"] = np.stack(drawn)
    return found
