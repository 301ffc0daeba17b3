"""Published weights, converted, on the test set that they were published for.

TL_DATA=FOLDER python scripts/table.py configs/tables/published.py
"""


def get_config(full: bool) -> dict:
    return {
        "name": "published",
        "title": "Published weights after conversion",
        "metrics": ["test/accuracy"],
        "columns": {"test/accuracy": "test accuracy"},
        "seconds_per_cell": 60,
        "seeds": [0],  # nothing is drawn
        "cells": [
            {
                "method": f"ResNet-{depth}",
                "setting": "CIFAR-10, all 10,000 test images",
                "config": "configs/evaluate.py",
                "overrides": {
                    "model": f"resnet{depth}_cifar",
                    "weights": f"file:$TL_DATA/weights/cifar10_resnet{depth}.safetensors",
                    "data": "npz:$TL_DATA/cifar10.npz",
                    "batch_size": 200,
                },
            }
            for depth in (20, 32, 44, 56)
        ],
        "notes": "Published: 91.73, 92.63, 93.10 and 93.39 % (github.com/akamaster/pytorch_resnet_cifar10).",
    }
