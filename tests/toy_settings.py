"""What toy runs set: networks of a few numbers, and the data and views that methods of a kind share."""

from __future__ import annotations

import pathlib

SMALL = {
    "model_args": {"width": 4, "blocks": (1, 1, 1)},
    "weights": "none",
    "image_size": 8,
    "resize": 8,
    "batch_size": 16,
    "eval_batch_size": 80,
    "labels_per_class": 4,
    "steps": 6,
    "eval_every": 3,
    "save_every": 100,  # every checkpoint costs as much as many of these steps
    "log_every": 1,
}

UNSIZED = {"image_size": 0, "resize": 0}  # of what is no image
LENET = {"model": "lenet", "model_args": {"widths": (4,), "hidden": 12}}  # compiles in a third of the time
ADAPT = {
    **LENET,
    "data": "digits",
    "target": "glyphs:digits",
    "bottleneck__width": 8,
    "groups": ((".*", {}),),
    "select": "",
    "schedule__name": "constant",
}
GENERALISE = {**ADAPT, "data": "digits+glyphs:digits-sans", "target": "glyphs:digits-serif"}
SECOND = {**ADAPT, "stages": (), "train_transforms": ()}
VIEWS = {"strong_transforms": (("rotation", {}), ("shift", {}))}

PLAIN = {"schedule__name": "constant", "model_args": {"width": 4, "blocks": (1,)}}

# A LeNet of seven classes, of a short run (any would do), for methods that go on from the classifier of their weights.
OLD = f"file:{pathlib.Path(__file__).parent / 'golden' / 'lenet_of_7.safetensors'}"

# One of four classes and another width, for a student to learn from.
TAUGHT = {
    "data": "noise:8,4,120",
    "teacher__weights": f"file:{pathlib.Path(__file__).parent / 'golden' / 'lenet_of_4.safetensors'}",
    "teacher__model_args": {"widths": (6,), "hidden": 12},
}

# Five of ten classes, the first five as if they had been learnt before.
SECOND_GROUP = {**PLAIN, **LENET, "increments": 2, "increment": 2, "exemplars": 3}

# Four labels of each class, and all images without.
FEW = {**LENET, **VIEWS, "unlabelled": True, "select": "", "schedule__name": "constant"}

# Which digit it is and how slanted.
SEVERAL = {
    **LENET,
    "schedule__name": "constant",
    "tasks": (("digit", {}), ("slant", {"of": "slant"})),
    "select": "",
}
# No labels but those that evaluation goes through; the stage that follows is fine-tuning, and has its row.
NO_LABELS = {**FEW, "stages": (), "optim__name": "adamw"}
# LeNet's dropout leaves nothing of some images, and near nothing directions depend on rounding.
TWO_VIEWS = {**NO_LABELS, **PLAIN, "model": "resnet20_cifar", "optim__eps": 1e-3}

# Four episodes a step, of two classes with a shot and a query.
EPISODES = {
    "schedule__name": "constant",
    "model_args": {"widths": (4, 4), "pools": 2},
    "data": "glyphs:digits",
    "labels_per_class": 0,
    "select": "",
    "episode__way": 2,
    "episode__query": 1,
    "episode__batch": 4,
    "episode__train_way": 0,
    "episode__train_shot": 0,
    "episode__train_query": 0,
    "episode__count": 20,
    # A bias that moves classes and questions alike has a gradient of little but rounding, which Adam would make a step.
    "optim__eps": 1e-3,
}
# 16 entities in a circle, and relations between those so many places apart.
GRAPH = {
    **UNSIZED,
    "data": f"kg:{pathlib.Path(__file__).parent / 'golden' / 'graph'}",
    "model_args": {},
    "train_transforms": (),
    "labels_per_class": 0,
}
# A small hierarchy, a classifier of seven classes of which six are in it, and images of ten classes that are, too.
HIERARCHY = pathlib.Path(__file__).parent / "golden" / "hierarchy"
ROWS = {
    **GRAPH,
    "data": f"kg:{HIERARCHY}",
    "zero_shot__weights": OLD,
    "zero_shot__model": "lenet",
    "zero_shot__names": str(HIERARCHY / "names.json"),
    "zero_shot__seen": 4,
    "zero_shot__unseen": ("wolf",),
    "zero_shot__images": "",
}
NAMES = ("dog", "wolf", "cat", "lion", "car", "bus", "boat", "puppy", "feline", "canine")
BESIDE = {
    **LENET,
    "data": "digits",
    "graph__data": f"kg:{HIERARCHY}",
    "graph__entities": {str(i): name for i, name in enumerate(NAMES)},
    "graph__mistakes": False,
    "keep_features": False,
    "groups": ((".*", {}),),
    "schedule__name": "constant",
}
ADAPTED = {**EPISODES, "model_args": {"widths": (4, 4), "pools": 2, "norm": "group"}}

# Sentences of two kinds, and networks that read them in a second.
SENTENCES = f"tsv:{pathlib.Path(__file__).parent / 'golden' / 'texts' / 'toy.tsv'}"
TEXT = {
    **UNSIZED,
    "data": SENTENCES,
    "weights": "none",
    "train_transforms": (),
    "schedule__name": "constant",
    "model": "bert",
    "model_args": {"layers": 2, "width": 8, "heads": 2, "hidden": 12, "positions": 16},
}
TAGS = {
    **TEXT,
    "data": f"conll:{pathlib.Path(__file__).parent / 'golden' / 'tagged.txt'}",
    "labels_per_class": 0,
    "groups": ((".*", {}),),
}
WINDOWS = {**TEXT, "model": "textcnn", "model_args": {"width": 6, "sizes": (2, 3), "features": 4}}
