"""Printed digits to handwritten ones, both embedded: what adaptation adds to a network trained on print alone.

python scripts/table.py configs/tables/embedded_digits.py
"""

from configs.tables._chosen import COLUMNS, METRICS

METHODS = {
    "source-only": "configs/source_only.py",
    "DANN": "configs/dann.py",
    "MCC": "configs/mcc.py",
    "AdaMatch": "configs/adamatch.py",
}


def get_config(full: bool) -> dict:
    """Three seeds, or ten in full; every cell is one command of the README."""
    return {
        "name": "embedded_digits",
        "title": "Printed to handwritten digits",
        "metrics": METRICS,
        "columns": COLUMNS,
        "seconds_per_cell": 120,
        "seeds": list(range(10 if full else 3)),
        "cells": [
            {"method": name, "setting": "glyphs -> digits", "config": config, "overrides": {}}
            for name, config in METHODS.items()
        ],
        "notes": (
            "Source: 3,000 digits drawn from fonts; target: 897 handwritten digits without labels; test: 900 others. "
            "The default choice is the best score/information among evaluations that pass the guard; the oracle sees "
            "the test labels."
        ),
    }
