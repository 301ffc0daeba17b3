"""Images as an exported network takes them, by numpy alone.

images = np.stack([prepare(image, model.about["preprocess"]) for image in images])   # uint8 RGB (H, W, 3) each
"""

import numpy as np

BITS = 22  # of the fraction of a resampling weight, as Pillow rounds them


def prepare(image, how):
    """(H, W, 3) -> (size, size, 3): short side to `resize`, then the middle of `size`, black where it falls short.

    uint8 RGB before and after; `how` is "preprocess" of model.json.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3), red first, in 0..255, not {image.dtype} {image.shape}")
    size, short = how["size"], how["resize"]
    height, width = image.shape[:2]
    shape = (short * height // min(height, width), short * width // min(height, width))
    image = resize(image, *shape, down_first=how["down_first"])
    more = [max(size - length, 0) for length in image.shape[:2]]
    image = np.pad(image, [*((pad // 2, pad - pad // 2) for pad in more), (0, 0)])
    top, left = (round((length - size) / 2) for length in image.shape[:2])
    return image[top : top + size, left : left + size]


def resize(image, height, width, down_first):
    """uint8 (H, W, 3) -> (height, width, 3), antialiased bilinear, to the bit as Pillow does it.

    Each pass ends in whole numbers. The one across comes first, but, from Pillow 13 on (`down_first`), not where a
    picture loses more than twice as many rows as columns.
    """
    old_height, old_width = image.shape[:2]
    down, across = taps(old_height, height), taps(old_width, width).T
    if down_first and old_height - height > max(0, 2 * (old_width - width)):
        planes = [rounded(rounded(down @ plane) @ across) for plane in np.moveaxis(image, 2, 0)]
    else:
        planes = [rounded(down @ rounded(plane @ across)) for plane in np.moveaxis(image, 2, 0)]
    return np.stack(planes, axis=2)


def taps(old, new):
    """(new, old) whole numbers, 2^BITS times the weights of a triangle that is never narrower than a pixel."""
    scale = old / new
    reach = max(scale, 1.0)
    centre = (np.arange(new)[:, None] + 0.5) * scale
    first, end = np.floor(np.maximum(centre - reach + 0.5, 0)), np.floor(np.minimum(centre + reach + 0.5, old))
    pixel = np.arange(old)[None]
    weight = np.maximum(1 - np.abs((pixel - centre + 0.5) * (1 / reach)), 0) * ((pixel >= first) & (pixel < end))
    return np.floor(weight / np.cumsum(weight, axis=1)[:, -1:] * 2**BITS + 0.5)


def rounded(sums):
    """Products of `taps` -> uint8; they are whole numbers below 2^53, and no order of sums changes them."""
    return np.clip(np.floor(sums / 2**BITS + 0.5), 0, 255).astype(np.uint8)
