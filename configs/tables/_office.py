"""Office-Caltech-10 on a frozen ImageNet backbone: a bottleneck and a head trained on its features."""

DOMAINS = ("amazon", "caltech10", "dslr", "webcam")
LAST_LAYER = ("backbone/last/conv", {"lr": 0.1})


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
