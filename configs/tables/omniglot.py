"""Omniglot: characters of 423 unseen classes, and their turns, told apart by one image of each, or five.

TL_DATA=FOLDER python scripts/table.py configs/tables/omniglot.py
"""

# Setting -> way and shot of the test.
SETTINGS = {
    "5-way 1-shot": (5, 1),
    "5-way 5-shot": (5, 5),
    "20-way 1-shot": (20, 1),
    "20-way 5-shot": (20, 5),
}
METRICS = {"test/accuracy": "test accuracy", "test/ci95": "half its 95 % interval"}
ONE = ("5-way 1-shot",)


def shared(way: int, shot: int, full: bool) -> dict:
    """What every cell has; a test of 1,000 episodes with 5 queries of a class."""
    return {
        "data": "omniglot:$TL_DATA/omniglot_bits.npz",
        "episode.rotations": True,
        "episode.classes": (1028, 172, 423),
        "episode.way": way,
        "episode.shot": shot,
        "episode.query": 5,
        "select": "",
        "eval_every": 10**6,
        "schedule": {"name": "step", "lr": 1e-3, "boundaries": (0.5, 0.75, 0.9), "factor": 0.5},
        "steps": 20_000 if full else 500,
    }


def ways(shot: int, full: bool) -> dict:
    """{method: (config, what it changes, the settings it is shown at)}."""
    wide = {"episode.batch": 1, "episode.train_way": 60 if full else 30, "episode.train_query": 5}
    inner = {"episode.batch": 32 if full else 8, "steps": 60_000 if full else 600}
    return {
        "ProtoNet": ("protonet", wide, tuple(SETTINGS)),
        "Matching": ("matching", wide, ("5-way 1-shot", "20-way 1-shot")),
        "Relation": ("relation", {"episode.batch": 4}, ONE),
        "nearest mean": ("nearest_mean", {"batch_size": 128}, ("5-way 1-shot", "20-way 1-shot")),
        "nearest mean, fine-tuned": (
            "nearest_mean",
            {"batch_size": 128, "method_args": {"finetune": 100}},
            ONE if shot == 1 else ("5-way 5-shot",),
        ),
        "MAML": ("maml", inner, ONE),
        "MAML, first order": ("maml", {**inner, "method_args": {"first_order": True}}, ONE),
        "ANIL": ("maml", {**inner, "method_args": {"only": "head"}}, ONE),
        "Reptile": ("reptile", inner, ONE),
    }


def get_config(full: bool) -> dict:
    """Three seeds; nine methods, ProtoNet in four settings."""
    return {
        "name": "omniglot",
        "title": "Omniglot",
        "metrics": list(METRICS),
        "columns": METRICS,
        "seconds_per_cell": 150,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": method,
                "setting": setting,
                "config": f"configs/{config}.py",
                "overrides": {**shared(way, shot, full), **changes},
            }
            for setting, (way, shot) in SETTINGS.items()
            for method, (config, changes, shown) in ways(shot, full).items()
            if setting in shown
        ],
        "notes": (
            "1,028 characters train, 423 others test, the same for every seed, all turned by 0 to 3 quarters; 28 x 28 "
            "pixels, Conv4 of width 64. The last step is tested, on 1,000 episodes with 5 queries of each class. Batch "
            "norm uses running statistics there; MAML, ANIL and Reptile have group norm. No setting was chosen by "
            "these figures."
        ),
    }
