"""Which backbone? Scores of six untouched backbones, beside what each reaches when all of it is fine-tuned.

TL_DATA=FOLDER python scripts/table.py configs/tables/ranking.py
"""

CIFAR = "file:$TL_DATA/weights/cifar10_resnet{}.safetensors"
# Backbone -> model, weights, pixels and learning rate: the better of 1e-3 and 1e-2 on ants and bees, a fourth seed.
BACKBONES = {
    "MobileNetV2, ImageNet": (
        "mobilenet_v2_tf",
        "file:$TL_DATA/weights/imagenet_mobilenet_v2_tf.safetensors",
        96,
        1e-3,
    ),
    **{f"ResNet-{n}, CIFAR-10": (f"resnet{n}_cifar", CIFAR.format(n), 32, 1e-2) for n in (20, 32, 44, 56)},
    "ResNet-20, glyphs": ("resnet20_cifar", "bundled", 32, 1e-2),
}
# Data and labelled images of each class, 0 for all.
DATA = {
    "ants and bees": ("tar:$TL_DATA/hymenoptera.tar", 0),
    "USPS": ("npz:$TL_DATA/usps.npz", 20),
    "Office, amazon": ("tar:$TL_DATA/office_caltech10.tar#amazon", 0),
}
METRICS = {
    "test/accuracy": "fine-tuned accuracy",
    "before/ridge": "ridge probe",
    "before/knn": "kNN",
    "before/logme": "LogME",
    "before/h_score": "H-score",
    "before/trans_rate": "TransRate",
    "before/leep": "LEEP",
    "before/nce": "NCE",
}


def get_config(full: bool) -> dict:
    """Three seeds; six backbones on three data sets."""
    steps = 1000 if full else 60
    return {
        "name": "ranking",
        "title": "Which backbone",
        "metrics": list(METRICS),
        "columns": METRICS,
        "correlate": "test/accuracy",
        "seconds_per_cell": 60,
        "seeds": [0, 1, 2],
        "cells": [
            {
                "method": backbone,
                "setting": name,
                "config": "configs/finetune.py",
                "overrides": {
                    "model": model,
                    "weights": weights,
                    "data": data,
                    "labels_per_class": count,
                    "image_size": size,
                    "resize": size,
                    "classifier": "replace",
                    "schedule.lr": rate,
                    "frozen_stats": "all",  # that of the large one is folded into its convolutions
                    "transferability": True,
                    "train_transforms": (),
                    "steps": steps,
                    "eval_every": steps,
                    "batch_size": 32,
                    "eval_batch_size": 64,
                    "select": "",
                },
            }
            for name, (data, count) in DATA.items()
            for backbone, (model, weights, size, rate) in BACKBONES.items()
        ],
        "notes": (
            f"Every layer moves for {steps} steps of 32 images; the last step is tested. Scores are of the training "
            "images, before training, higher is better; of USPS 20 images a class are trained on and scored. The last "
            "rows say how well each score puts the backbones in the order of their accuracy: 1 is the same order, -1 "
            "the opposite one, and the best places count most. LEEP and NCE ask the classifiers of the weights. The "
            "learning rate, 1e-3 for MobileNetV2 and 1e-2 for the others, was chosen on ants and bees with a fourth "
            "seed; MobileNetV2 sees images of 96 pixels, the others of 32."
        ),
    }
