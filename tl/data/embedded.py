"""Data without a download: scikit-learn's handwritten digits, and characters in matplotlib's fonts, noise."""

from __future__ import annotations

import functools
import hashlib
import pathlib
import string

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from tl.data import splits
from tl.data.base import Dataset, Split, from_array
from tl.errors import InputError

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
GLYPH_SIZE = 32

# Fonts of matplotlib in which all 62 characters are drawn as such. Left out: symbol and display fonts, cmmi10
# (its digits are old-style) and LastResort. Validation and test have fonts that training never sees.
FONTS = {
    "train": (
        "DejaVuSans",
        "DejaVuSans-Bold",
        "DejaVuSans-Oblique",
        "DejaVuSans-BoldOblique",
        "DejaVuSansMono",
        "DejaVuSansMono-Bold",
        "DejaVuSansMono-BoldOblique",
        "DejaVuSerif",
        "DejaVuSerif-Italic",
        "DejaVuSerif-BoldItalic",
        "STIXGeneral",
        "STIXGeneralBol",
        "STIXGeneralBolIta",
        "cmb10",
        "cmr10",
        "cmti10",
    ),
    "val": ("DejaVuSansMono-Oblique", "cmss10"),
    "test": ("DejaVuSerif-Bold", "STIXGeneralItalic", "cmtt10"),
}
STYLES = {
    "sans": tuple(font for font in FONTS["train"] if font.startswith("DejaVuSans") and "Mono" not in font),
    "mono": tuple(font for font in FONTS["train"] if "Mono" in font),
    "serif": tuple(font for font in FONTS["train"] if not font.startswith("DejaVuSans")),
}
PER_CLASS = {"train": 300, "val": 20, "test": 60}


def digits(argument: str, task: str) -> Dataset:
    """UCI's handwritten digits (Alpaydin and Kaynak 1998) from scikit-learn: 1,797 images of 8x8, 10 classes.

    The ink counts 0..16 are scaled to 0..255. The test split is always the same stratified 900 images.
    """
    from sklearn.datasets import load_digits  # half a second of imports that no other source needs

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    whole = from_array(images, labels, "digits")
    test = splits.stratified(labels, 900 / len(labels), np.random.default_rng(0))
    parts = {"train": whole.take(splits.others(len(labels), test)), "test": whole.take(test)}
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Dataset(parts, tuple(string.digits), digest)


def glyphs(argument: str, task: str) -> Dataset:
    """62 classes (0-9, A-Z, a-z) drawn white on black at 32x32 from the fonts that matplotlib ships.

    300 images a class for training, 20 for validation, 60 for test, each with its own size, place and stroke
    width: a function of the split and the index alone. The fonts of the three splits are different. `glyphs:digits`
    are the ten digits among them, `glyphs:digits-serif`, -sans and -mono those of the training fonts of one style: a
    domain each, without val and test of their own.
    """
    characters, _, style = argument.partition("-")
    if characters not in ("", "digits") or (style and style not in STYLES) or argument.endswith("-"):
        raise InputError(
            f"'glyphs:{argument}' is neither glyphs, all 62 characters, nor glyphs:digits[-STYLE] with "
            f"a style of {', '.join(STYLES)}."
        )
    folder = _font_folder()
    identity = [repr((FONTS, PER_CLASS, GLYPH_SIZE, features.version("freetype2")))]
    identity += [str((folder / f"{font}.ttf").stat().st_size) for fonts in FONTS.values() for font in fonts]
    identity += [argument] if argument else []
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()
    parts = {name: _glyph_split(name) for name in FONTS if not style or name == "train"}
    if characters:
        parts = {name: split.take(np.flatnonzero(split.labels["label"] < 10)) for name, split in parts.items()}
    if style:
        numbers = [i for i, font in enumerate(FONTS["train"]) if font in STYLES[style]]
        place = np.array([int(name.rpartition("/")[2]) for name in parts["train"].names])
        own = np.isin(place // len(CHARACTERS) % len(FONTS["train"]), numbers)
        parts = {"train": parts["train"].take(np.flatnonzero(own))}
    return Dataset(parts, tuple(CHARACTERS[:10] if characters else CHARACTERS), digest)


def noise(argument: str, task: str) -> Dataset:
    """`noise:SIZE,CLASSES,COUNT`: random images for measurements of speed and memory, by default 224, 10, 2048."""
    defaults = (224, 10, 2048)
    given = [part for part in argument.split(",") if part]
    if len(given) > 3 or not all(part.isdecimal() and int(part) for part in given):
        raise InputError(f"'noise:{argument}' takes up to three positive numbers: noise:SIZE,CLASSES,COUNT.")
    size, classes, count = (*map(int, given), *defaults[len(given) :])
    pool = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), np.uint8)

    def split(name: str, n: int) -> Split:
        labels = np.arange(n, dtype=np.int32) % classes
        return Split(lambda i: pool[i % len(pool)], {"label": labels}, [f"noise/{name}/{i}" for i in range(n)], True)

    # A class without training images is an error everywhere, so there are at least as many images as classes.
    parts = {"train": split("train", max(count, classes)), "val": split("val", 64), "test": split("test", 64)}
    names = tuple(f"class{i}" for i in range(classes))
    return Dataset(parts, names, hashlib.sha256(f"noise {size} {classes} {count}".encode()).hexdigest())


@functools.cache
def _glyph_split(name: str) -> Split:
    """The images are drawn when first asked for and kept: opening takes no time, a second epoch neither."""
    count = PER_CLASS[name] * len(CHARACTERS)
    rng = np.random.default_rng(list(FONTS).index(name))
    capital = rng.uniform(13, 25, count)  # height of a capital in pixels
    stroke = np.maximum(0, rng.uniform(-0.6, 1.0, count))  # extra width on either side of the line, in pixels
    offset = rng.uniform(-1, 1, (count, 2))  # where in the free room: -1 left or top, 1 right or bottom
    done: dict[int, np.ndarray] = {}

    def load(i: int) -> np.ndarray:
        if i not in done:
            font = FONTS[name][i // len(CHARACTERS) % len(FONTS[name])]
            grey = _draw(CHARACTERS[i % len(CHARACTERS)], font, capital[i], stroke[i], offset[i])
            done[i] = grey
        return np.repeat(done[i][:, :, None], 3, axis=2)

    labels = np.arange(count, dtype=np.int32) % len(CHARACTERS)
    names = [f"glyphs/{name}/{i}" for i in range(count)]
    return Split(load, {"label": labels}, names, in_memory=True)


def _draw(character: str, name: str, capital: float, stroke: float, offset: np.ndarray) -> np.ndarray:
    """One character as uint8 (32, 32); it is made smaller where it would not fit."""
    size = round(capital / 0.72)  # a capital is about 0.72 em high
    while True:
        font = _font(name, size)
        left, top, right, bottom = font.getbbox(character, anchor="ls", stroke_width=stroke)
        free = np.array([GLYPH_SIZE - (right - left), GLYPH_SIZE - (bottom - top)])
        if free.min() >= 1:
            break
        size -= 1
    # At most 4 pixels off the middle: a small letter in a corner is no harder class, only a harder place.
    x, y = free / 2 + offset * np.minimum(free / 2, 4) - (left, top)
    image = Image.new("L", (GLYPH_SIZE, GLYPH_SIZE))
    ImageDraw.Draw(image).text((x, y), character, fill=255, font=font, anchor="ls", stroke_width=stroke)
    return np.asarray(image)


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout is built into Pillow; the other one depends on what the machine has installed.
    return ImageFont.truetype(str(_font_folder() / f"{name}.ttf"), size, layout_engine=ImageFont.Layout.BASIC)


def _font_folder() -> pathlib.Path:
    return pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
