"""One process of test_hosts_agree.py: python hosts_worker.py FOLDER PORT PROCESSES PROCESS CASE...; every case in turn.

Process 0 leaves FOLDER/CASE.npz with the final parameters, and FOLDER/CASE.json with the last evaluation's figures;
FOLDER/data.npz is there.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np
import toy

from tl import build, hosts, optim, train
from tl import mesh as meshes
from tl.runtime import prepare

# Beside a row per method: frozen maps in place of images, with steps one by one and in bursts on the device.
FROZEN = {
    "last stage": ("finetune", {"groups": (("head", {}), ("backbone/stage3", {}), (".*", None)), "ema": 0.9}),
    "features": ("probe", {}),
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, toy.METHODS[name]) for name in toy.WIDE}
CASES |= {name: (spec, {**row, "train_transforms": ()}) for name, (spec, row) in FROZEN.items()}


def run(name: str, folder: pathlib.Path) -> None:
    spec, changes = CASES[name]
    settings = {
        "data": f"npz:{folder / 'data.npz'}",
        "dtype": "float64",
        "steps": 10,
        "eval_every": 10,
        "save_every": 100,
    }
    chosen = toy.toy_config(f"configs/{spec}.py", **{**settings, **changes})
    with train.start(build.experiment(chosen), folder / name, quiet=True) as work:
        train.run(work)
        leaves = optim.paths(meshes.gather(work.state.variables))
        rows = next(iter(work.feeds.streams.values()))[0]
        inputs = next(field for field in rows if field not in ("index", "label"))
        if jax.process_index() == 0:
            np.savez(folder / f"{name}.npz", allow_pickle=False, **leaves)
            last = {key: value for key, value in work.log.rows()[-1].items() if key.startswith("val/")}
            (folder / f"{name}.json").write_text(
                json.dumps({**last, "inputs": inputs, "bursts": bool(work.feeds.rows)})
            )


if __name__ == "__main__":
    where, port, processes, process, *names = sys.argv[1:]
    hosts.join(f"127.0.0.1:{port}", int(processes), int(process))
    prepare()
    try:
        for case in names:
            run(case, pathlib.Path(where))
    except Exception as error:
        hosts.fail(error)
    hosts.leave(0)
