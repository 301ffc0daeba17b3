"""Ants and bees: a real ImageNet backbone on 244 training images, as a probe and fine-tuned.

TL_DATA=FOLDER python scripts/table.py configs/tables/hymenoptera.py
"""


def get_config(full: bool) -> dict:
    shared = {
        "model": "mobilenet_v2_tf",
        "weights": "file:$TL_DATA/weights/imagenet_mobilenet_v2_tf.safetensors",
        "data": "tar:$TL_DATA/hymenoptera.tar",
        "eval_every": 1000,
    }
    probe = {  # as configs/probe.py
        "groups": (("head.*", {}), (".*", None)),
        "train_transforms": (),
        "optim": {"name": "adam", "clip": 0.0},
        "schedule": {"lr": 3e-3},
        "epochs": 10,
    }
    then = {"groups": ((".*", {}),), "schedule": {"lr": 1e-4}, "epochs": 3}
    ways = {
        "linear probe": ("configs/probe.py", {"epochs": 10}),
        "fine-tuned with a new head": (
            "configs/finetune.py",
            {"epochs": 5, "frozen_stats": "all", "schedule.lr": 2e-4},
        ),
        "probe, then fine-tuned": ("configs/lp_ft.py", {"frozen_stats": "all", "stages": (probe, then)}),
    }
    return {
        "name": "hymenoptera",
        "title": "Ants and bees",
        "metrics": ["test/accuracy"],
        "columns": {"test/accuracy": "test accuracy"},
        "seconds_per_cell": 180,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": method,
                "setting": "244 labelled images, 153 test images",
                "config": config,
                "overrides": {**shared, **changes},
            }
            for method, (config, changes) in ways.items()
        ],
        "notes": (
            "MobileNetV2 trained on ImageNet (TensorFlow padding, batch norm folded, so statistics stay frozen). There "
            "is no test split: val is test, and a tenth of train is cut off as val. Both are classes of ImageNet."
        ),
    }
