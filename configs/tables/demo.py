"""The demonstration's table: 5 labels a class of handwritten digits, three ways to train.

python scripts/table.py configs/tables/demo.py
"""


def get_config(full: bool) -> dict:
    """Three seeds, or ten in full."""
    setting = "digits, 5 labels a class"
    ways = {"scratch": "configs/scratch.py", "probe": "configs/probe.py", "finetune": "configs/finetune.py"}
    return {
        "name": "demo",
        "title": "Characters from fonts to handwriting",
        "metrics": ["test/accuracy"],
        "columns": {"test/accuracy": "test accuracy"},
        "seconds_per_cell": 30,
        "seeds": list(range(10 if full else 3)),
        "cells": [
            {
                "method": name,
                "setting": setting,
                "config": f"{path}:model=resnet20_cifar,data=digits",
                "overrides": {"labels_per_class": 5},
            }
            for name, path in ways.items()
        ],
        "notes": (
            "ResNet-20 pretrained on 62 characters rendered from matplotlib's fonts (0-9 are among them, no "
            "handwriting is), tested on 900 handwritten digits. The seed moves the labels drawn, the new "
            "weights and the order of the images."
        ),
    }
