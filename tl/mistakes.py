"""Where the answers of a run to the images that it mistakes most surely come from, for its report."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tl import explanations, train
from tl.data import transforms
from tl.preprocess import Preprocess
from tl.report.images import overlay


def overlays(work: train.Run, images: Sequence[np.ndarray], task: str) -> dict[str, np.ndarray]:
    """{what it is: (N, size, size, 3) uint8}: the images as the network sees them, and under the answers' Grad-CAM.

    {} where there is none to show: no mistakes, no map in space, answers that need other images or a pass over data,
    several hosts, of which one alone writes the report.
    """
    experiment = work.experiment
    method, preprocess = experiment.method, experiment.preprocess["backbone"]
    apart = experiment.together > 1 or method.online or method.ready or jax.process_count() > 1
    if apart or not len(images) or not isinstance(preprocess, Preprocess):
        return {}
    layer = explanations.spatial_layer(work.bind(**work.state.variables), preprocess.size)
    if not layer:
        return {}
    chain = transforms.compose(transforms.evaluation(preprocess))
    seen = np.stack([chain(image, np.random.default_rng(0)) for image in images])

    @jax.jit
    def draw(variables, memory, image):
        net = work.bind(**variables)
        return explanations.grad_cam(method.predict, net, memory, {"image": image}, task, layer)

    maps = np.asarray(draw(work.state.variables, work.state.memory, jnp.asarray(seen)))
    drawn = [overlay(image, values) for image, values in zip(seen, maps, strict=True)]
    return {"images": seen, "where the answer comes from (Grad-CAM)": np.stack(drawn)}
