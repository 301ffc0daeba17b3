"""The bytes of a picture -> uint8 RGB, whatever it was stored as."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from tl.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MOST_PIXELS = 200_000_000

# Pillow only warns of a picture that would fill the memory, and warns in whatever thread is loading; `decode`
# refuses it instead, from the size in its header.
Image.MAX_IMAGE_PIXELS = None

# Its other warnings are of metadata that it could not read, while the pixels are whole. They are silenced
# once, here: `warnings.catch_warnings` around each picture is not safe in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode(data: bytes, name: str) -> np.ndarray:
    """One encoded picture -> uint8 (H, W, 3) RGB, turned as its EXIF orientation says.

    Transparent pixels are laid over white, as on a page. 16-bit grey is scaled to 8 bits. Of an animation the
    first frame counts. Raises InputError with `name` for data that is broken, cut off, floating-point or
    beyond MOST_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise InputError(f"'{name}' has {picture.width} x {picture.height} pixels; make it smaller first.")
            picture.load()
            return np.asarray(to_rgb(_upright(picture), name))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds: OSError, SyntaxError, struct.error, ...
        raise InputError(
            f"'{name}' is broken or no picture ({error}); mend or remove it, or set skip_broken."
        ) from error


def to_rgb(picture: Image.Image, name: str = "image") -> Image.Image:
    """`picture` of any mode as 8-bit RGB; see decode."""
    if picture.mode == "F":
        raise InputError(f"'{name}' holds floating-point values, whose range is unknown; store it with 8 or 16 bits.")
    if picture.mode.startswith("I"):  # "I", "I;16", "I;16B": Pillow's own conversion clips at 255
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"'{name}' holds values beyond 16 bits; store it with 8 or 16 bits.")
        picture = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        page = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(page, coloured)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF beside good pixels: common in the wild, and worth no more than its orientation
        return picture
