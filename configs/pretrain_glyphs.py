"""The bundled weights: a CIFAR-style ResNet-20 learns 62 characters drawn from matplotlib's fonts.

    python main.py --config configs/pretrain_glyphs.py --workdir runs/pretrain_glyphs
    cp runs/pretrain_glyphs/weights.safetensors tl/assets/resnet20_glyphs.safetensors

No handwriting is seen: fonts alone, bent, turned, sheared, cropped and coarsened. Drawn 0-9 are among the 62 classes.
"""

from configs import common


def get_config(arg):
    c = common.get_config()
    c.weights = "none"
    c.data = "glyphs"
    c.image_size = (
        16  # the handwriting that follows has 8 x 8 pixels, and a quarter of the pixels is four times as fast
    )
    c.resize = 16
    c.mean = c.std = (0.5, 0.5, 0.5)
    c.train_transforms = (
        ("elastic", {"strength": 0.06}),
        ("rotation", {"degrees": 15.0}),
        ("shear", {"degrees": 20.0}),
        # Handwriting is narrow and fills its frame.
        ("random_resized_crop", {"scale": (0.35, 0.9), "ratio": (0.8, 1.8)}),
        ("low_resolution", {"smallest": 7}),
    )
    c.batch_size = 128
    c.epochs = 12
    c.optim.weight_decay = 0.05
    c.optim.clip = 5.0
    c.schedule.lr = 4e-3
    c.schedule.warmup = 200
    c.eval_every = 0
    c.eval_batch_size = 256
    c.save_every = 200
    return c
