"""Few labels after training without any: from scratch against six ways to begin, on USPS and CIFAR-10.

TL_DATA=FOLDER python scripts/table.py configs/tables/pretraining.py
"""

# Setting -> its data, the network's width and the steps of its small form, transforms of fine-tuning and of views.
BENT = (("rotation", {"degrees": 15.0}), ("shear", {"degrees": 15.0}))
CROP = ("random_resized_crop", {"scale": (0.3, 1.0)})
COLOUR = (("colour_jitter", {"hue": 0.1}), ("greyscale", {}))
SETTINGS = {
    "USPS, 5 labels a class": {
        "data": "npz:$TL_DATA/usps.npz",
        "labels_per_class": 5,
        "size": 16,
        "width": 16,
        "steps": 400,
        "train": (("shift", {}),),
        "views": (*BENT, ("random_resized_crop", {"scale": (0.5, 1.0)})),
    },
    "CIFAR-10, 40 labels a class": {
        "data": "npz:$TL_DATA/cifar10.npz",
        "labels_per_class": 40,
        "size": 32,
        "width": 8,
        "steps": 200,
        "train": (("random_crop", {}), ("flip", {})),
        "views": (CROP, ("flip", {}), *COLOUR),
    },
}
# Way -> config, and how many of a batch's rows an image makes: all see as many rows a step.
WAYS = {
    "from scratch": ("few_labels", 1),
    "autoencoder": ("autoencoder", 1),
    "denoising autoencoder": ("denoising", 1),
    "VAE": ("vae", 1),
    "rotations": ("rotnet", 4),
    "SimCLR": ("simclr", 2),
    "Barlow Twins": ("barlow", 2),
}
METRICS = {"test/accuracy": "test accuracy"}


def changes(setting: dict, config: str, rows: int, full: bool) -> dict:
    """What a cell sets: both stages' network and data, the first one's length and views, the second."""
    steps, batch, later = (20_000, 256, 2000) if full else (setting["steps"], 128, 200)
    shared = {
        "data": setting["data"],
        "labels_per_class": setting["labels_per_class"],
        "model_args": {} if full else {"blocks": (1, 1, 1), "width": setting["width"]},
        "image_size": setting["size"],
        "resize": setting["size"],
        "eval_batch_size": 256,
    }
    second = {
        "method": "finetune",
        "method_args": {},
        "train_transforms": setting["train"],
        "batch_size": 40,
        "steps": later,
        "eval_every": later,
        "ema": 0.99,
        "optim": {"name": "sgd", "nesterov": True, "weight_decay": 5e-4},
        "schedule": {"lr": 0.03},
    }
    if config == "few_labels":  # which has the other settings of the second stage
        return shared | {key: second[key] for key in ("train_transforms", "steps", "eval_every")}
    views = setting["views"] if rows == 2 else setting["train"]
    first = {"steps": steps, "eval_every": steps, "batch_size": batch // rows, "train_transforms": views}
    return shared | first | {"strong_transforms": views, "stages": ({}, second)}


def get_config(full: bool) -> dict:
    """Three seeds; seven ways on each set."""
    return {
        "name": "pretraining",
        "title": "Few labels after training without any",
        "metrics": list(METRICS),
        "columns": METRICS,
        "seconds_per_cell": 60,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": way,
                "setting": name,
                "config": f"configs/{config}.py",
                "overrides": changes(setting, config, rows, full),
            }
            for name, setting in SETTINGS.items()
            for way, (config, rows) in WAYS.items()
        ],
        "notes": (
            ("ResNet-20" if full else "ResNet-8, of width 16 on USPS and 8 on CIFAR-10")
            + ". First all training images without labels, of CIFAR-10 those that are there, in "
            + ("20,000 steps" if full else "400 and 200 steps")
            + " of as many rows for every way: an image makes one, four of its turns or two of its views. Then as from "
            "scratch. The last step is tested; settings were looked at with seed 10 alone."
        ),
    }
