"""Office-Caltech-10 on an ImageNet backbone: what its tables share."""

DOMAINS = ("amazon", "caltech10", "dslr", "webcam")
LAST_LAYER = ("backbone/last/conv", {"lr": 0.1})
# Each image is seen in five views, computed once. AdaMatch's views of one image are draws of dropout: others would have
# to pass the whole network at every step.
VIEWS = {
    "cached_views": 5,
    "train_transforms": (("random_resized_crop", {"scale": (0.5, 1.0)}), ("flip", {})),
    "bottleneck.dropout": 0.5,
    "optim.weight_decay": 5e-3,
    "batch_size": 64,
}
# The whole image, not its middle alone, beside its mirror image and the middle of both.
SEEN = {"resize": 224, "eval_views": ("flip", "zoom", "zoom_flip")}
DROPOUT = {"method_args": {"strong": False}, "strong_transforms": ()}
MCC = {"method_args": {"temperature": 3.5, "weight": 2.0}}


def domain(name: str) -> str:
    return f"tar:$TL_DATA/office_caltech10.tar#{name}"


def shared(full: bool) -> dict:
    """What every cell changes of configs/source_only.py or configs/erm.py.

    `full` trains the backbone's last layer too, and longer, which would not fit all cells into an hour.
    """
    steps = 1000 if full else 300
    moving = (LAST_LAYER,) if full else ()
    return {
        "model": "mobilenet_v2_tf",
        "weights": "file:$TL_DATA/weights/imagenet_mobilenet_v2_tf.safetensors",
        # Its batch norm is folded into the convolutions: there are no statistics to move.
        "groups": (*moving, ("backbone", None), (".*", {})),
        "keep_features": True,
        "image_size": 0,
        "resize": 0,
        "bottleneck.width": 256,
        "batch_size": 32,
        "eval_batch_size": 64,
        "steps": steps,
        "eval_every": steps // 4,
        "schedule.lr": 0.03,
        "schedule.gamma": 10 / steps,
        "transductive": True,
    }


def tasks(common: dict, methods: dict) -> list[dict]:
    """A cell of each of {method: (config, what it changes)} for each of the 12 tasks."""
    return [
        {
            "method": method,
            "setting": f"{source} -> {target}",
            "config": f"configs/{config}.py",
            "overrides": {**common, **changes, "data": domain(source), "target": domain(target)},
        }
        for source in DOMAINS
        for target in DOMAINS
        if source != target
        for method, (config, changes) in methods.items()
    ]
