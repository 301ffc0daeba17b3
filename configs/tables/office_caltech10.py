"""Office-Caltech-10, all 12 tasks: an ImageNet MobileNetV2 adapted to each domain from each other one.

TL_DATA=FOLDER python scripts/table.py configs/tables/office_caltech10.py
"""

from configs.tables._chosen import COLUMNS, METRICS
from configs.tables._office import DROPOUT, LAST_LAYER, MCC, SEEN, VIEWS, shared, tasks

STEPS = 100  # three times as many, of 64 images of each domain, would take more than two hours
SHORT = {
    "groups": (LAST_LAYER, ("backbone", None), (".*", {})),
    "cached_views": 2,
    "batch_size": 32,
    "steps": STEPS,
    "eval_every": STEPS // 2,
    "schedule.gamma": 10 / STEPS,
}
NOTES = {
    True: "1,000 steps of 64 source and 64 target images, the backbone's last layer, bottleneck and head trained.",
    False: "100 steps of 32 source and 32 target images, source-only of 64 source images: the backbone's last layer, "
    "bottleneck and head trained on two views of each image, computed up to the layer once. The last row has what "
    "office_caltech10_frozen.py has, 300 steps of a bottleneck and a head on a frozen backbone, of 64 and 64 images in "
    "five views.",
}


def methods(full: bool) -> dict:
    """{method: (config, what it changes)}; source-only's steps have as many images as the others' of both domains."""
    short = {} if full else SHORT
    found = {
        "source-only": ("source_only", short | ({} if full else {"batch_size": 64})),
        "DAN": ("dan", short),
        "CORAL": ("coral", short),
        "DANN": ("dann", short),
        "CDAN+E": ("cdan_e", short),
        "MCC": ("mcc", {**short, **MCC} | ({} if full else {"schedule.lr": 0.1})),
        "MDD": ("mdd", short),
        "AdaMatch": ("adamatch", {**short, **DROPOUT} | ({} if full else {"batch_size": 16})),
    }
    seen = "MCC, four views" + ("" if full else ", backbone frozen")
    return found | {seen: ("mcc", {**MCC, **SEEN})}


def get_config(full: bool) -> dict:
    """Three seeds; 12 tasks of each method."""
    return {
        "name": "office_caltech10",
        "title": "Office-Caltech-10",
        "metrics": METRICS,
        "columns": COLUMNS,
        "seconds_per_cell": 11,
        "seeds": [0, 1, 2],
        "cells": tasks({**shared(full), **VIEWS}, methods(full)),
        "notes": NOTES[full],
    }
