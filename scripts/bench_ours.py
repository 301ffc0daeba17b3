"""This project's side of scripts/bench.py: the run's own step, prediction and data path, as a user gets them.

python scripts/bench_ours.py WORK JSON-OPTIONS   (started by bench.py)
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import tempfile
from typing import Any

import bench_works as bench
import jax
import numpy as np

from tl import build, config, inputs, runtime, train
from tl.data import streams, transforms
from tl.preprocess import Preprocess


def main(name: str, options: dict[str, Any]) -> None:
    runtime.prepare()
    work = dataclasses.replace(bench.ALL[name], **options.get("change", {}))
    if work.kind == "peak":
        bench.serve(lambda: (lambda: peak(work.dtype), {}))
        return
    kinds = {"inference": inference, "finetune": steps, "stage4": steps, "loader": loader, "probe": probe}
    if work.kind == "start":
        chosen = settings(work, steps=1, weights=f"file:{options['weights']}")
        with train.start(build.experiment(chosen), folder(), quiet=True) as run:
            jax.block_until_ready(train.advancing(run, 0)(run.state, 0, 1))
        print(json.dumps({"ready": True}), flush=True)
        return
    bench.serve(lambda: kinds[work.kind](work, options))


def folder() -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp())


def settings(work: bench.Work, **changes: Any) -> Any:
    """Fine-tuning with SGD and momentum, all statistics the batch's own, images without augmentation."""
    count = changes.pop("count", 256)
    plain = {
        "model": work.model,
        "weights": "none",
        "data": f"noise:{work.size},{work.classes},{count}",
        "image_size": work.size,
        "batch_size": work.batch,
        "dtype": work.dtype,
        "groups": ((".*", {}),),
        "optim.nesterov": False,
        "optim.clip": 0.0,
        "train_transforms": (),
        "schedule.name": "constant",
        "schedule.lr": 1e-3,
        "steps": 10**6,
        "eval_every": 10**6,
        "save_every": 10**6,
        "log_every": 10**6,
    }
    return config.load("configs/finetune.py", {**plain, **changes})


def inference(work: bench.Work, options: dict) -> tuple[Any, dict]:
    run = train.start(build.experiment(settings(work)), folder(), quiet=True)
    batch = next(iter(run.experiment.passes["train"]))

    def call() -> None:
        for _ in range(work.repeat):
            out = run.predict(run.state, batch)
        jax.block_until_ready(out)

    call()
    return lambda: bench.rate(work.batch * work.repeat, call), {}


def steps(work: bench.Work, options: dict) -> tuple[Any, dict]:
    """Whole steps as the loop takes them, data path included; for stage4 on the cached maps of stage 3."""
    changes: dict[str, Any] = {}
    if work.kind == "stage4":
        changes = {"groups": (("head", {}), ("backbone/stage4", {}), (".*", None)), "count": 1000}
    run = train.start(build.experiment(settings(work, **changes)), folder(), quiet=True)
    advance = train.advancing(run, 0)
    state, done = run.state, 0

    def call() -> None:
        nonlocal state, done
        for _ in range(work.repeat):
            state, done, scalars = advance(state, done, done + 1)
        jax.block_until_ready(scalars)

    call()
    memory = jax.devices()[0].memory_stats() or {}
    notes = {"device_peak_mib": memory["peak_bytes_in_use"] / 2**20} if memory else {}
    return lambda: bench.rate(work.batch * work.repeat, call), notes


def probe(work: bench.Work, options: dict) -> tuple[Any, dict]:
    """Ten epochs over `repeat` images, all of it: building, compiling, features, training."""

    def once() -> None:
        groups = (("head", {}), (".*", None))
        chosen = settings(work, groups=groups, steps=10 * work.repeat // work.batch, count=work.repeat)
        with train.start(build.experiment(chosen), folder(), quiet=True) as run:
            train.run(run)

    return lambda: bench.rate(10 * work.repeat, once), {}


def loader(work: bench.Work, options: dict) -> tuple[Any, dict]:
    """JPEG files -> random resized crop and flip -> batches on the device."""
    preprocess = Preprocess(work.size, work.size, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    dataset = inputs.open_data(settings(work, data=f"folder:{options['images']}", image_library=work.library))
    transform = transforms.compose([("random_resized_crop", {"size": preprocess.size}), ("flip", {})])
    stream = streams.train_stream(dataset.splits["train"], transform, batch_size=work.batch, seed=0)
    batches = iter(streams.batches({"train": stream}, train.meshes.make_mesh()))

    def call() -> None:
        for _ in range(work.repeat):
            batch = next(batches)
        jax.block_until_ready(batch)

    call()
    return lambda: bench.rate(work.batch * work.repeat, call), {}


def peak(dtype: str, n: int = 4096) -> float:
    """FLOP/s of one large matrix product with float32 sums, the best of what a process reaches."""
    x = jax.numpy.asarray(np.random.default_rng(0).standard_normal((n, n)), dtype)
    product = jax.jit(lambda a, b: jax.lax.dot(a, b, preferred_element_type="float32"))
    jax.block_until_ready(product(x, x))
    return bench.rate(2 * n**3, lambda: jax.block_until_ready(product(x, x)))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
