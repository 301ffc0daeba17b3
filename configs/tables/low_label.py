"""Ants and bees with few labels: ways to fine-tune the last stage of an ImageNet MobileNetV2.

TL_DATA=FOLDER python scripts/table.py configs/tables/low_label.py
"""

HYMENOPTERA = "tar:$TL_DATA/hymenoptera.tar"
AMAZON = "tar:$TL_DATA/office_caltech10.tar#amazon"
# Setting -> data and training images of each class, 0 for all; 109 and more are left when val is cut, amazon's from 59.
RATES = {"100 %": (HYMENOPTERA, 0), "15 %": (HYMENOPTERA, 16)}
FULL_RATES = RATES | {"50 %": (HYMENOPTERA, 55), "30 %": (HYMENOPTERA, 33)}
FULL_RATES |= {"amazon, 100 %": (AMAZON, 0), "amazon, 50 %": (AMAZON, 30)}
FULL_RATES |= {"amazon, 30 %": (AMAZON, 18), "amazon, 15 %": (AMAZON, 9)}
VIEWS = (("random_resized_crop", {"scale": (0.2, 1.0)}), ("flip", {}))
METRICS = {
    "test/accuracy": "test accuracy",
    "test/loss": "test loss",
    "params/trained": "moving parameters",
    "params/optimizer_bytes": "bytes of the optimiser",
}


def shared(moving: str, steps: int, views: int) -> dict:
    """What every cell has: `moving` of the backbone moves, a tenth as fast as the head."""
    return {
        "model": "mobilenet_v2_tf",
        "weights": "file:$TL_DATA/weights/imagenet_mobilenet_v2_tf.safetensors",
        "groups": (("head.*", {"lr": 10.0}), *body(moving)),
        "frozen_stats": "all",  # its batch norm is folded into the convolutions
        "train_transforms": VIEWS,
        "cached_views": views,
        "keep_features": views > 0,
        "batch_size": 32,
        "eval_batch_size": 64,
        "steps": steps,
        "eval_every": steps,
        "schedule": {"name": "step", "lr": 1e-3, "boundaries": (0.6,)},
        "optim.weight_decay": 5e-4,
    }


def body(moving: str) -> tuple:
    """The groups behind the head's."""
    rest = (("backbone", None),) if moving != "backbone" else ()
    return ((f"{moving}/.*", {}), *rest)


def scratch() -> dict:
    """The whole network from nothing, on smaller images."""
    return {
        "weights": "none",
        "groups": ((".*", {}),),
        "frozen_stats": "auto",
        "cached_views": 0,
        "keep_features": False,
        "image_size": 96,
        "schedule": {"name": "cosine", "lr": 3e-3},
        "optim.name": "adamw",
    }


def ways(moving: str, steps: int) -> dict:
    """{way: (config, what it changes)}."""
    probe = {
        "groups": (("head.*", {}), (".*", None)),
        "optim": {"name": "adam"},
        "schedule": {"name": "cosine", "lr": 3e-3},
    }
    first, then = {**probe, "steps": steps // 3}, {"groups": (("head.*", {}), *body(moving))}
    delta = {"method": "delta", "method_args": {"maps": ("stage7",), "batches": 1}, "optim": {"weight_decay": 0.0}}
    more = {"groups": (("head.*", {"lr": 10.0}), *body(moving), (".*", {}))}  # there are parts beside these two
    thin = ((".*/lora_[ab]$", {}), ("backbone", None), (".*", {"lr": 10.0}))
    biases = ((f"{moving}/.*bias$", {}), ("backbone", None), (".*", {}))
    return {
        "scratch": ("scratch", scratch()),
        "probe": ("finetune", probe),
        "fine-tuned": ("finetune", {}),
        "LP-FT": ("lp_ft", {"stages": (first, then)}),
        "L2-SP": ("l2_sp", {"optim.weight_decay": 0.0}),
        "DELTA": ("delta", {"stages": (first, {**then, **delta})}),
        "BSS": ("bss", {}),
        "Co-Tuning": ("co_tuning", more),
        "Bi-Tuning": ("bi_tuning", {**more, "strong_transforms": VIEWS}),
        "LoRA": ("lora", {"lora.layers": moving, "groups": thin, "optim.name": "adamw"}),
        "BitFit": ("bitfit", {"groups": biases, "schedule.lr": 1e-2}),
    }


def get_config(full: bool) -> dict:
    """Three seeds; eleven ways at each share of the labels."""
    moving, steps, views = ("backbone", 3000, 0) if full else ("backbone/(stage7|last)", 150, 10)
    said = "every layer moves" if full else f"the last stage, the last convolution and the head move on {views} views"
    return {
        "name": "low_label",
        "title": "Fine-tuning on few labels",
        "metrics": list(METRICS),
        "columns": METRICS,
        "seconds_per_cell": 50,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": way,
                "setting": setting,
                "config": f"configs/{config}.py",
                "overrides": {**shared(moving, steps, views), **changes, "data": data, "labels_per_class": count},
            }
            for setting, (data, count) in (FULL_RATES if full else RATES).items()
            for way, (config, changes) in ways(moving, steps).items()
        ],
        "notes": (
            f"{steps} steps of 32 images; {said}; the last step is tested, on 153 images of ants and bees, two "
            "classes of ImageNet. Settings are those of the papers and of the Transfer Learning Library (whose DELTA "
            "sums over a batch what is a mean here), none was chosen by these figures."
        ),
    }
