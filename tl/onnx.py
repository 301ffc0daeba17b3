"""A network as ONNX, kept only where ONNX Runtime gives the same answers: converters may err in silence."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tl.errors import InputError

MOST = 1e-4  # how far apart an answer may be


def write(
    function: Callable[..., Any], flat: Mapping[str, np.ndarray], folder: pathlib.Path, images: np.ndarray
) -> str:
    """Write `folder/model.onnx`, float32 (N, size, size, 3) in 0..255 -> an output for each task, by name.

    `function(flat, images)` is traced as the caller wants it, `images` are (N, size, size, 3) uint8. InputError where
    a package is missing or an answer is more than MOST from that of `function`.
    """
    try:
        import jax2onnx  # pyright: ignore[reportMissingImports]
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(f"ONNX needs the package {error.name}: pip install -e '.[onnx]'.") from error
    path, pixels = folder / "model.onnx", images.astype(np.float32)

    def network(image: Any) -> tuple[Any, ...]:
        outputs = function(flat, image)
        return tuple(outputs[name] for name in sorted(outputs))

    jax2onnx.to_onnx(network, [("N", *images.shape[1:])], return_mode="file", output_path=path, input_names=["images"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    apart = []
    for start in range(0, len(pixels), 64):  # more at once take gigabytes
        piece = pixels[start : start + 64]
        for found, wanted in zip(session.run(None, {"images": piece}), network(piece), strict=True):
            apart.append(np.abs(np.asarray(found) - np.asarray(wanted)).max())
    most = float(np.max(apart))
    if not most <= MOST:  # nor for NaN
        raise InputError(
            f"ONNX Runtime's answers to {len(images)} images are up to {most:.1e} from those of the network: nothing "
            "is written; leave --onnx out."
        )
    return f"ONNX Runtime's at most {most:.1e}"
