"""Office-Caltech-10, all 12 tasks: an ImageNet MobileNetV2 adapted to each domain from each other one.

TL_DATA=FOLDER python scripts/table.py configs/tables/office_caltech10.py
"""

from configs.tables._chosen import COLUMNS, METRICS
from configs.tables._office import DOMAINS, domain, shared

# Other views of the images would have to pass the whole network at every step: AdaMatch's are draws of dropout.
DROPOUT = {"method_args": {"strong": False}, "strong_transforms": (), "train_transforms": (), "bottleneck.dropout": 0.5}
METHODS = {
    "source-only": ("source_only", {}),
    "DAN": ("dan", {}),
    "CORAL": ("coral", {}),
    "DANN": ("dann", {}),
    "CDAN+E": ("cdan_e", {}),
    "MCC": ("mcc", {}),
    "MDD": ("mdd", {}),
    "AdaMatch": ("adamatch", DROPOUT),
}


def get_config(full: bool) -> dict:
    """Three seeds; 12 tasks of 8 methods."""
    steps = 1000 if full else 100
    return {
        "name": "office_caltech10",
        "title": "Office-Caltech-10",
        "metrics": METRICS,
        "columns": COLUMNS,
        "seconds_per_cell": 25,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": method,
                "setting": f"{source} -> {target}",
                "config": f"configs/{config}.py",
                "overrides": {**shared(steps), **changes, "data": domain(source), "target": domain(target)},
            }
            for source in DOMAINS
            for target in DOMAINS
            if source != target
            for method, (config, changes) in METHODS.items()
        ],
        "notes": (
            f"{steps} steps of 32 source and 32 target images. As in the papers, all images of the target are both "
            "trained on, without labels, and tested on."
        ),
    }
