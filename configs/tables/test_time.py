"""Handwritten digits met by networks of printed ones: what learning at test time adds, on the same weights.

python scripts/table.py configs/tables/test_time.py
"""

METHODS = {
    "statistics of the batch alone": ("tent", {"schedule.lr": 0.0}),
    "Tent": ("tent", {}),
    "T3A": ("t3a", {}),
    "T3A, statistics of the batch": ("t3a", {"frozen_stats": "none"}),
}
METRICS = {"before/test/accuracy": "as it was", "test/accuracy": "online"}


def get_config(full: bool) -> dict:
    """Three seeds, or ten in full; the first stage of a seed, which trains on print, is the same in every row."""
    return {
        "name": "test_time",
        "title": "Printed to handwritten digits, learning at test time",
        "metrics": list(METRICS),
        "columns": METRICS,
        "seconds_per_cell": 50,
        "seeds": list(range(10 if full else 3)),
        "cells": [
            {"method": name, "setting": "print -> digits", "config": f"configs/{config}.py", "overrides": changes}
            for name, (config, changes) in METHODS.items()
        ],
        "notes": (
            "ResNet-20 from the bundled weights, 150 steps on printed digits, then 900 handwritten ones, each met once "
            "in batches of 128 in a seeded order; no setting was chosen by these figures."
        ),
    }
