"""How far off mistakes are by WordNet, beside how many there are: plain probes against prototypes tied to the graph.

TL_DATA=FOLDER python scripts/table.py configs/tables/mistakes.py
"""

from configs.tables import fusion

METRICS = {
    "test/accuracy": "test accuracy",
    "test/mistake_height": "height of mistakes",
    "test/mistake_path": "edges between true and predicted",
    "test/height": "height over all",
}
GRAPH = {"graph.data": "kg:$TL_DATA/kg/WN18RR.tar.gz", "graph.entities": fusion.OFFICE, "graph.mistakes": True}


def get_config(full: bool) -> dict:
    """Three seeds."""
    name = "amazon, GoogLeNet"
    return {
        "name": "mistakes",
        "title": "How far off mistakes are",
        "metrics": list(METRICS),
        "columns": METRICS,
        "seconds_per_cell": 12,
        "seeds": [0, 1, 2],
        "cells": [fusion.cell(name, labels, way, **GRAPH) for labels in (1, 2, 5) for way in fusion.WAYS],
        "notes": (
            "Probes and prototypes of the table of few labels and a knowledge graph, on amazon's ten classes, measured "
            "otherwise. Height, of a mistake: the most edges from one of the ten classes up to the lowest common "
            "ancestor of the true and the predicted one in WN18RR; a mean over mistakes and one over all images. It "
            "depends on where classes stand: WN18RR has no laptop and no mouse, which are portable computer and "
            "electronic device here. The latter is right above the monitor's entity, so these two are one edge apart."
        ),
    }
