"""One network for several tasks against one for each: MNIST's digits and strokes, Office's classes and places.

TL_DATA=FOLDER python scripts/table.py configs/tables/multitask.py
"""

OFFICE = "features:$TL_DATA/office_caltech10_features.npz#GoogleNet1024_"
PLACES = ("amazon", "dslr", "webcam")
# Setting -> its tasks, with the metric that a row shows of each, and what its runs have in common.
SETTINGS = {
    "MNIST, 20 images a class": (
        {
            "digit": ({}, "accuracy"),
            "thickness": ({"of": "thickness"}, "mae"),
            "slant": ({"of": "slant"}, "mae"),
        },
        {"data": "npz:$TL_DATA/mnist.npz", "labels_per_class": 20, "val_fraction": 0.02, "model": "lenet"},
    ),
    "Office, 3 images a class and place": (
        {"class": ({}, "accuracy"), "place": ({"of": "domain"}, "accuracy")},
        {
            "data": "+".join(f"{OFFICE}{place}" for place in PLACES),
            "labels_per_class": 3,
            "model": "vectors",
            "bottleneck.width": 64,
        },
    ),
}
# Way -> config.
WAYS = {
    "the sum": "multi_task",
    "uncertainty": "uncertainty",
    "GradNorm": "gradnorm",
    "PCGrad": "pcgrad",
    "DWA": "dwa",
}


def cell(setting: str, method: str, config: str, names: list[str], full: bool) -> dict:
    """A row of the tasks `names`."""
    tasks, shared = SETTINGS[setting]
    steps = 6000 if full else 600
    return {
        "method": method,
        "setting": setting,
        "config": f"configs/{config}.py",
        "overrides": {
            **shared,
            "tasks": tuple((name, tasks[name][0]) for name in names),
            "steps": steps,
            "eval_every": steps,
            "eval_batch_size": 256,
            "schedule.lr": 1e-3,
        },
        "metrics": [*(f"test/{name}/{tasks[name][1]}" for name in names), "time/images_per_s"],
    }


def get_config(full: bool) -> dict:
    """Three seeds; each task by itself, and together in five ways."""
    cells = []
    for setting, (tasks, _) in SETTINGS.items():
        cells += [cell(setting, f"{name} alone", "multi_task", [name], full) for name in tasks]
        cells += [cell(setting, way, config, list(tasks), full) for way, config in WAYS.items()]
    columns = {metric: metric.removeprefix("test/") for one in cells for metric in one["metrics"]}
    return {
        "name": "multitask",
        "title": "Several tasks by one network",
        "metrics": list(columns),
        "columns": columns | {"time/images_per_s": "images a second in training"},
        "seconds_per_cell": 12,
        "seeds": [0, 1, 2],
        "cells": cells,
        "notes": (
            "Thickness in pixels and slant in pixels a pixel of height, mean absolute errors, measured on each image; "
            "LeNet on MNIST. GoogLeNet features of Office, over which 64 units are shared; a fifth of every place is "
            "tested. "
            f"{'6,000' if full else '600'} steps, the last is tested; settings were looked at with seed 10 alone."
        ),
    }
