"""The demonstration's table: 5 labels a class of handwritten digits, three ways to train.

python scripts/table.py configs/tables/demo.py
"""

from configs import default


def get_config(full: bool) -> dict:
    """Three seeds, or ten in full; every cell is a run of the demonstration."""
    variants = default.get_config({}).variants.to_dict()
    alone = {"variants": {}, "seeds": ()}
    return {
        "name": "demo",
        "title": "Characters from fonts to handwriting",
        "metrics": ["test/accuracy"],
        "columns": {"test/accuracy": "test accuracy"},
        "seconds_per_cell": 20,
        "seeds": list(range(10 if full else 3)),
        "cells": [
            {
                "method": name,
                "setting": "digits, 5 labels a class",
                "config": "configs/default.py",
                "overrides": {**alone, **changes},
            }
            for name, changes in variants.items()
        ],
        "notes": (
            "ResNet-20 pretrained on 62 characters rendered from matplotlib's fonts (0-9 are among them, no "
            "handwriting is), tested on 900 handwritten digits. The seed moves the labels drawn, the new "
            "weights and the order of the images."
        ),
    }
