"""CIFAR-10 in five groups of two classes, one after the other: what is kept of the earlier ones.

TL_DATA=FOLDER python scripts/table.py configs/tables/incremental.py
"""

METHODS = {
    "fine-tuned": ("incremental", {}),
    "LwF": ("lwf_incremental", {}),
    "EWC": ("ewc", {"exemplars": 20}),
    "replay": ("replay", {"exemplars": 20}),
    "iCaRL": ("icarl", {"exemplars": 20}),
}
METRICS = {
    "groups/accuracy": "accuracy over the groups",
    "groups/forgetting": "forgotten",
    "known_group/accuracy": "accuracy, group known",
    "known_group/forgetting": "forgotten, group known",
}


def get_config(full: bool) -> dict:
    """Three seeds; five methods."""
    each, epochs = (0, 50) if full else (500, 10)
    return {
        "name": "incremental",
        "title": "CIFAR-10, class by class",
        "metrics": list(METRICS),
        "columns": METRICS,
        "seconds_per_cell": 200,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": method,
                "setting": "5 groups of 2 classes",
                "config": f"configs/{config}.py",
                "overrides": {
                    "model": "resnet20_cifar",
                    "weights": "bundled",
                    "data": "npz:$TL_DATA/cifar10.npz",
                    "labels_per_class": each,
                    "val_fraction": 0.0,
                    "batch_size": 32,
                    "epochs": epochs,
                    "eval_every": 10**6,
                    "eval_batch_size": 256,
                    **changes,
                },
            }
            for method, (config, changes) in METHODS.items()
        ],
        "notes": (
            f"ResNet-20 from the bundled weights, which have seen printed characters alone; {each or 'all'} training "
            f"images of each class, {epochs} epochs of each group in batches of 32; replay, iCaRL and EWC keep 20 "
            "images of each class. Weights are those of the last step; no setting was chosen by these figures."
        ),
    }
