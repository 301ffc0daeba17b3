"""What `smoke=true` does to a recipe: everything runs, nothing is learnt."""


def shrink(c, arg):
    """A narrow network on 32 pixels, four steps, handwritten digits, random weights unless some are named."""
    if arg.get("smoke", "").lower() != "true":
        return c
    depth = {"blocks": (1, 1, 1, 1)} if c.model.startswith("resnet") else {}
    c.model_args = {**c.model_args.to_dict(), "width": 4, **depth}
    c.weights = "none"
    c.data = "digits"
    c.labels_per_class = 4
    c.image_size = c.resize = 32
    c.head.hidden = tuple(min(width, 16) for width in c.head.hidden)
    c.batch_size = 16
    c.eval_batch_size = 240
    c.steps = 4
    c.eval_every = 2
    return c
