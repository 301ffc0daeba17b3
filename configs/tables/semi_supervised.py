"""Few labels beside images without: eight ways on MNIST and CIFAR-10.

TL_DATA=FOLDER python scripts/table.py configs/tables/semi_supervised.py
"""

# Setting -> its data and network, the transforms of one view and of the strong ones.
MNIST = {
    "data": "npz:$TL_DATA/mnist.npz",
    "val_fraction": 0.02,
    "model": "lenet",
    "image_size": 28,
    "resize": 28,
}
# At half its size, so that 2,400 steps take minutes: in 600 a network is sure of nothing yet.
CIFAR = {
    "data": "npz:$TL_DATA/cifar10.npz",
    "val_fraction": 0.1,
    "model_args": {"blocks": (1, 1, 1), "width": 16},
    "image_size": 16,
    "resize": 16,
    "train_transforms": (("random_crop", {"pad": 2}), ("flip", {})),
    "steps": 2400,
}
COLOURS = (*CIFAR["train_transforms"], ("colour_jitter", {"hue": 0.1}), ("greyscale", {}), ("cutout", {}))
SETTINGS = {
    "MNIST, 4 labels a class": ({**MNIST, "labels_per_class": 4}, ()),
    "MNIST, 10 labels a class": ({**MNIST, "labels_per_class": 10}, ()),
    "CIFAR-10, 40 labels a class": ({**CIFAR, "labels_per_class": 40}, COLOURS),
}
# Way -> its config, what it sets beside, and whether one of its views is a strong one.
WAYS = {
    "the labels alone": ("few_labels", {}, False),
    "pseudo-labels": ("few_labels", {"method": "pseudo_label"}, False),
    "Pi-model": ("pi_model", {}, False),
    "Mean Teacher": ("mean_teacher", {"method_args": {"weight": 10.0}}, False),  # 50 is too much for so short a run
    "VAT": ("vat", {}, False),
    "MixMatch": ("mixmatch", {}, False),
    "FixMatch": ("few_labels", {"method": "fixmatch"}, True),
    "FlexMatch": ("flexmatch", {}, True),
}
# The papers' weights and thresholds belong to hundreds of thousands of steps. In a short run MixMatch's weight pulls
# every answer to the same class, and few images are surely told.
SHORT = {
    ("MixMatch", "CIFAR-10, 40 labels a class"): {"method_args": {"weight": 7.5}},
    ("FixMatch", "CIFAR-10, 40 labels a class"): {"method_args": {"threshold": 0.8}},
    ("FlexMatch", "CIFAR-10, 40 labels a class"): {"method_args": {"threshold": 0.8}},
}


def get_config(full: bool) -> dict:
    """Three seeds; seven ways to use images without labels, against the labels alone."""
    cells = []
    for setting, (shared, strong) in SETTINGS.items():
        for way, (config, changes, two) in WAYS.items():
            weak = shared.get("train_transforms")
            views = strong if two else weak
            steps = 20_000 if full else shared.get("steps", 600)
            cells.append(
                {
                    "method": way,
                    "setting": setting,
                    "config": f"configs/{config}.py",
                    "overrides": {
                        **shared,
                        **({"strong_transforms": views} if views else {}),
                        **changes,
                        **({} if full else SHORT.get((way, setting), {})),
                        "steps": steps,
                        "eval_every": steps,
                        "eval_batch_size": 256,
                    },
                }
            )
    return {
        "name": "semi_supervised",
        "title": "Few labels beside images without",
        "metrics": ["test/accuracy"],
        "columns": {"test/accuracy": "test accuracy"},
        "seconds_per_cell": 45,
        "seeds": [0, 1, 2],
        "cells": cells,
        "notes": (
            f"{'20,000' if full else '600, on CIFAR-10 2,400,'} steps of 40 labelled images and as many without, from "
            "scratch; LeNet on MNIST, a ResNet-8 of width 16 on CIFAR-10, at 16 pixels, of 4,500 images in all. The "
            "moving average of the weights after the last step is tested. Settings were looked at with seed 10 alone; "
            "by val there were chosen Mean Teacher's weight (10; with 50 it stays behind the labels alone) and on "
            "CIFAR-10 MixMatch's (7.5; with 75 it ends at chance) and the threshold of FixMatch and FlexMatch (0.8; "
            "with 0.95 FixMatch is sure of hardly an image in 600 steps)."
        ),
    }
