"""The bytes of a picture -> uint8 RGB, whatever it was stored as."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from tl.errors import InputError, unknown

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MOST_PIXELS = 200_000_000

# Pillow only warns of a picture that would fill the memory, and warns in whatever thread is loading; `decode`
# refuses it instead, from the size in its header.
Image.MAX_IMAGE_PIXELS = None

# Its other warnings are of metadata that it could not read, while the pixels are whole. They are silenced
# once, here: `warnings.catch_warnings` around each picture is not safe in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


LIBRARIES = ("", "pillow", "opencv")
_opencv: Any = None


def use(library: str) -> None:
    """Decode JPEG and resize with `library` in this process; pixels differ by a few of 256 levels between the two.

    OpenCV is the faster one. It averages areas where an image is made smaller; Pillow, whose antialiased bilinear is
    that of torchvision, is what published accuracies were measured with.
    """
    global _opencv
    if library not in LIBRARIES:
        raise unknown("config.image_library", library, LIBRARIES)
    if library != "opencv":
        _opencv = None
        return
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            "config.image_library is 'opencv', which is not installed: pip install -e '.[opencv]', or leave it empty."
        ) from error
    cv2.setNumThreads(0)  # images are read in threads of our own
    _opencv = cv2


def resized(image: np.ndarray, height: int, width: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """uint8 (H, W, 3) -> (height, width, 3), antialiased, of `box` = (left, top, right, bottom) alone if given."""
    if _opencv is None:
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box))
    left, top, right, bottom = box or (0, 0, image.shape[1], image.shape[0])
    smaller = bottom - top >= height and right - left >= width
    how = _opencv.INTER_AREA if smaller else _opencv.INTER_LINEAR
    return _opencv.resize(np.ascontiguousarray(image[top:bottom, left:right]), (width, height), interpolation=how)


# Of images that a run reads by its config.
SKIPPED = "mend or remove it, or, where a run trains on it, set config.skip_broken"


def decode(data: bytes, name: str, remedy: str = "mend or remove it") -> np.ndarray:
    """One encoded picture -> uint8 (H, W, 3) RGB, turned as its EXIF orientation says.

    Transparent pixels are laid over white, as on a page. 16-bit grey is scaled to 8 bits. Of an animation the
    first frame counts. Raises InputError with `name` for data that is broken, which says the `remedy`, cut off,
    floating-point or beyond MOST_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise InputError(f"'{name}' has {picture.width} x {picture.height} pixels; make it smaller first.")
            if _opencv is not None and _plain_jpeg(picture, data):
                return _opencv.imdecode(np.frombuffer(data, np.uint8), _opencv.IMREAD_COLOR_RGB)
            picture.load()
            return np.asarray(to_rgb(_upright(picture), name))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds: OSError, SyntaxError, struct.error, ...
        raise InputError(f"'{name}' is broken or no picture ({error}); {remedy}.") from error


def _plain_jpeg(picture: Image.Image, data: bytes) -> bool:
    """Whether OpenCV reads the file as Pillow does. One that was cut off it would fill with grey, without a word."""
    return picture.format == "JPEG" and picture.mode in ("RGB", "L") and data.rstrip(b"\0").endswith(b"\xff\xd9")


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
