"""What is measured: the same words for both sides of scripts/bench.py, which runs each side in a process of its own."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Work:
    """`gflop`: of one image, multiply-adds counted twice, the convolutions and dense layers that must be computed."""

    model: str = "resnet50"
    kind: str = "finetune"  # inference | finetune | stage4 | probe | loader | start
    batch: int = 32
    repeat: int = 2  # batches in one measurement
    gflop: float = 0.0
    size: int = 224
    classes: int = 1000
    dtype: str = "float32"
    unit: str = "images/s"
    library: str = ""  # that decodes and resizes our images


WORKS = {
    "r50_inference": Work(kind="inference", gflop=8.18),
    "r50_finetune": Work(batch=8, repeat=3, gflop=24.3),
    "r18_finetune": Work("resnet18", batch=8, repeat=6, gflop=10.65),
    "r56_finetune": Work("resnet56_cifar", batch=128, repeat=3, gflop=0.75, size=32, classes=10),
    "mobilenet_v2_finetune": Work("mobilenet_v2", repeat=2, gflop=1.8),
    "stage4_only": Work(kind="stage4", repeat=3, gflop=4.85),
    "loader": Work(kind="loader", repeat=8),
    "loader_opencv": Work(kind="loader", repeat=8, library="opencv"),
    "probe_10_epochs": Work(kind="probe", repeat=2000),
    "start_cold": Work(kind="start", batch=8, unit="s"),
    "start_warm": Work(kind="start", batch=8, unit="s"),
}
GPU_WORKS = {
    "gpu_r50_inference": Work(kind="inference", batch=256, repeat=20, gflop=8.18, dtype="bfloat16"),
    "gpu_r50_finetune": Work(batch=256, repeat=20, gflop=24.3, dtype="bfloat16"),
}
PEAKS = {"peak": Work(kind="peak", unit="FLOP/s"), "gpu_peak": Work(kind="peak", dtype="bfloat16", unit="FLOP/s")}
ALL = {**WORKS, **GPU_WORKS, **PEAKS}
# Sizes at which a GPU work runs anywhere within seconds, to see that the script is sound.
DRY = {"model": "resnet18", "batch": 8, "repeat": 1, "size": 64, "classes": 10, "gflop": 0.0}


def peak_memory() -> float:
    """The most memory this process has held, in MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(prepare: Callable[[], tuple[Callable[[], float], dict]]) -> None:
    """Answer scripts/bench.py: a line when ready, then one measurement for every line that comes.

    `prepare() -> (run, notes)`; run() -> images per second.
    """
    import json

    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not be taken for an answer
    run, notes = prepare()
    print(json.dumps({**notes, "ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps({"value": run(), "peak_mib": peak_memory()}), file=answers, flush=True)


def rate(images: int, call: Callable[[], object]) -> float:
    """Images per second of one call, which must not return before the work is done."""
    began = time.perf_counter()
    call()
    return images / (time.perf_counter() - began)
