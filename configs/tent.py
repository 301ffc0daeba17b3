"""Tent (Wang et al. 2021): batch norm adapts to the test images while they are answered, without labels or source.

    python main.py --config configs/tent.py
    python main.py --config configs/tent.py:model=resnet50,weights=run:W,data=folder:DIR

Each test image is met once, in batches of eval_batch_size in a shuffled order, and answered before the step that it
causes; test/accuracy is that of these answers, before/test/accuracy that of the network as it was, which is also what
the run exports. schedule.lr=0 leaves the batch's statistics alone at work. The rates are the paper's; on ImageNet it
takes batches of 64, sgd and .00025.

Without weights two stages show it: a network is taught printed digits, and asked about handwritten ones. In
configs/tables/test_time.py, 3 seeds: .606 +- .032 as it was, .722 +- .009 online, of which the statistics alone give
.721: 900 images are eight steps (commit 6c332b6; 65 to 94 s on a busy core).
"""

from configs import evaluate


def get_config(arg):
    c = evaluate.get_config(arg)
    c.method = "tent"
    c.groups = ((r".*\bbn\d*/", {}), (".*", None))
    c.val_fraction = 0.0
    c.eval_batch_size = 128
    c.evaluate_before = True
    c.optim.name = "adam"
    c.schedule.name = "constant"
    c.schedule.lr = 1e-3
    if "weights" not in arg:
        c.data = "digits"
        c.stages = (PRINT, {})
    return c


PRINT = {
    "method": "finetune",
    "data": "glyphs:digits",
    "classifier": "replace",
    "image_size": 16,
    "resize": 16,
    "groups": ((".*", {}),),
    "batch_size": 48,
    "steps": 150,
    "eval_batch_size": 240,
    "eval_every": 150,
    "evaluate_before": False,
    "optim": {"name": "sgd", "nesterov": True, "weight_decay": 1e-3},
    "schedule": {"name": "cosine", "lr": 0.01},
}
