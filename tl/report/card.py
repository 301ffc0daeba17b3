"""The page that goes with an exported network: what it answers, what it was made of, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
from huggingface_hub import ModelCardData

from tl.report import sections
from tl.report.html import TEMPLATES
from tl.report.table import number

FILES = {
    "SHA256SUMS": "for `sha256sum -c SHA256SUMS`",
    "grad_cam.jax": "where in an image its answer comes from (Grad-CAM)",
    "flatbuffers.zip": "the package flatbuffers (Google, Apache 2.0), by which jax.export reads programs",
    "load.py": "runs it by jax and numpy alone",
    "model.json": "classes and preprocessing",
    "model.onnx": "the same network with its weights, for ONNX Runtime; images (N, size, size, 3) as float32 in 0..255",
    "predict.jax": "the network by jax.export, for CPU, CUDA and TPU and any number of images",
    "prepare.py": "makes its input of images of any size, by numpy",
    "weights.npz": "its weights, arguments of both programs",
}


def card(*, model: str, method: str, files: Sequence[str], summary: Any, **values: Any) -> str:
    """Markdown with the front matter of a model card, from templates/card.md.j2.

    values: name, data, tasks {name: (kind, classes)}, preprocess, start (the weights it began from), licence and
    trained_on (of these; "" where it is not known), compared, versions.
    """
    front = ModelCardData(library_name="jax", tags=["image-classification", model, method])
    results = sections.results(summary)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    return environment.get_template("card.md.j2").render(
        front=front.to_yaml(),
        model=model,
        method=method,
        files=sorted([*files, "SHA256SUMS"]),
        about=FILES,
        summary=summary,
        results=results,
        streams=sections.streams(results),
        **values,
    )
