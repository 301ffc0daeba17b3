"""Source-only: what a network trained on the labelled domain alone gives on another, the figure adaptation must beat.

    python main.py --config configs/source_only.py

By default from digits in printed fonts to handwritten ones, both embedded. Of other data: `--config.data=...` and
`--config.target=...`; the files beside this one change the method alone.

In configs/tables/embedded_digits.py, 3 seeds on 2 cores, chosen without target labels:
.591 +- .016 on handwriting (oracle .610), 95 to 199 s (commit 0871bc7).
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.data = "glyphs:digits"
    c.target = "digits"
    c.model = "resnet20_cifar"
    c.image_size = 16
    c.resize = 16
    c.bottleneck.width = 64
    c.bottleneck.norm = True
    c.groups = (("backbone", {"lr": 0.1}), (".*", {}))
    c.batch_size = 48
    c.eval_batch_size = 240
    c.steps = 500
    c.eval_every = 50
    c.optim.name = "sgd"
    c.optim.nesterov = True
    c.optim.weight_decay = 1e-3
    c.schedule.name = "inverse"
    c.schedule.lr = 0.03
    c.schedule.gamma = 10 / c.steps
    c.select = "score/information"
    return c
