"""Fine-tuning a finished run on new data of the same classes, with kept images of the old so that they stay known.

    python main.py --config configs/refinetune.py:weights=run:W,data=folder:NEW,earlier=folder:OLD

The old test images are evaluated before and after: `before/earlier/accuracy` and `earlier/accuracy`.
"""

from configs import finetune


def get_config(arg):
    c = finetune.get_config(arg)
    c.method = "replay"
    c.classifier = "keep"
    c.exemplars = 20
    c.evaluate_before = True
    c.epochs = 5
    return c
