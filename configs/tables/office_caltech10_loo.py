"""Office-Caltech-10, leave one domain out: learnt on three labelled domains, tested on the fourth, never seen.

TL_DATA=FOLDER python scripts/table.py configs/tables/office_caltech10_loo.py
"""

from configs.tables._chosen import COLUMNS, METRICS
from configs.tables._office import DOMAINS, domain, shared

METHODS = {
    "ERM": ("erm", {}),
    "CORAL": ("dg_coral", {}),
    "GroupDRO": ("group_dro", {}),
    "VREx": ("vrex", {}),
    "IRM": ("irm", {}),
    "MixStyle": ("mixstyle", {"method_args": {"maps": ("last",)}}),
    "SWAD": ("swad", {}),
}


def get_config(full: bool) -> dict:
    """Three seeds; four domains left out in turn, seven methods."""
    common = shared(full)
    steps = common["steps"]
    return {
        "name": "office_caltech10_loo",
        "title": "Office-Caltech-10, one domain left out",
        "metrics": METRICS,
        "columns": COLUMNS,
        "seconds_per_cell": 20,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": method,
                "setting": target,
                "config": f"configs/{config}.py",
                "overrides": {
                    **common,
                    "batch_size": 48,  # 16 of each domain
                    **changes,
                    "eval_every": steps // (12 if method == "SWAD" else 4),
                    "data": "+".join(domain(name) for name in DOMAINS if name != target),
                    "target": domain(target),
                },
            }
            for target in DOMAINS
            for method, (config, changes) in METHODS.items()
        ],
        "notes": (
            f"{steps} steps of 16 images of each of three domains; the target's images are tested on and never trained "
            "on. The default choice is by the sources' validation images (SWAD: the valley of their loss)."
        ),
    }
