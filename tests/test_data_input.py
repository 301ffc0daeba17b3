"""Pictures of every kind become RGB, and one clear sentence says what a user got wrong."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from data_files import encoded, fill, packed, picture, save_npz
from PIL import Image

from tl.data import images
from tl.data.images import decode
from tl.data.sources import open_source
from tl.errors import InputError


def sizes(dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def test_modes_become_the_right_rgb():
    rgba = Image.new("RGBA", (4, 4), (200, 0, 100, 0))
    rgba.putpixel((1, 0), (200, 0, 100, 255))
    rgba.putpixel((2, 0), (0, 0, 0, 128))
    image = decode(encoded(rgba), "rgba")
    assert image[0, 0].tolist() == [255, 255, 255]  # transparent: the white page
    assert image[0, 1].tolist() == [200, 0, 100]
    assert image[0, 2].tolist() == [127, 127, 127]
    grey = Image.new("L", (4, 4), 77)
    assert decode(encoded(grey), "grey")[0, 0].tolist() == [77, 77, 77]
    assert decode(encoded(Image.merge("LA", [grey, Image.new("L", (4, 4), 0)])), "la")[0, 0].tolist() == [255] * 3
    assert decode(encoded(Image.new("1", (4, 4), 1)), "bits")[0, 0].tolist() == [255] * 3
    cmyk = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), "cmyk")
    np.testing.assert_allclose(cmyk[0, 0], [255, 0, 0], atol=6)


@pytest.fixture
def opencv():
    pytest.importorskip("cv2")
    images.use("opencv")
    yield
    images.use("")


def test_opencv_reads_and_resizes_nearly_as_pillow(opencv):
    rows, columns = np.mgrid[:60, :80]
    smooth = np.stack([rows * 4, columns * 3, 128 + 60 * np.sin(rows / 9)], axis=-1).astype(np.uint8)
    turned = Image.fromarray(smooth)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    data = {
        "colour": encoded(turned, "JPEG", quality=95),
        "grey": encoded(turned.convert("L"), "JPEG"),
        "turned": encoded(turned, "JPEG", exif=exif),
        "not JPEG": encoded(turned),
        "cmyk": encoded(turned.convert("CMYK"), "JPEG"),
    }
    for name, file in data.items():
        found = {}
        for library in ("opencv", "pillow"):
            images.use(library)
            image = decode(file, name)
            found[library] = [image, images.resized(image, 20, 30), images.resized(image, 90, 100, (5, 6, 45, 40))]
        for a, b in zip(*found.values(), strict=True):
            assert a.shape == b.shape
            assert np.abs(a.astype(int) - b).mean() < 2, name
    images.use("opencv")
    for broken in (data["colour"][:-300], data["colour"][:50]):
        with pytest.raises(InputError, match="broken or no picture"):
            decode(broken, "cut")


def test_an_unknown_image_library_is_named():
    with pytest.raises(InputError, match="image_library 'cv'"):
        images.use("cv")


def test_palette_with_and_without_transparency():
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert decode(encoded(palette), "palette")[0, 0].tolist() == [10, 20, 30]
    palette.putpixel((0, 0), 0)
    image = decode(encoded(palette, transparency=b"\x00\xff"), "palette")
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == [10, 20, 30]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_is_scaled_not_clipped(kind):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(values), kind), "deep")[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # as tl.data.images does, whose filter pytest lifts
def test_exif_orientation():
    image = Image.new("RGB", (8, 4), (0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    assert decode(encoded(image, "JPEG", exif=exif), "turned").shape == (8, 4, 3)
    broken_exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff"
    assert decode(encoded(image, "JPEG", exif=broken_exif), "odd").shape == (4, 8, 3)


def test_broken_pictures_are_named(monkeypatch):
    whole = encoded(picture(size=(64, 64)), "JPEG")
    for data in (whole[: len(whole) // 2], b"no picture", b""):
        with pytest.raises(InputError, match=r"ants/17\.jpg"):
            decode(data, "ants/17.jpg")
    with pytest.raises(InputError, match="floating-point"):
        decode(encoded(Image.new("F", (4, 4)), "TIFF"), "float.tif")
    monkeypatch.setattr("tl.data.images.MOST_PIXELS", 100)
    with pytest.raises(InputError, match="64 x 64 pixels"):
        decode(whole, "huge.jpg")


def test_a_broken_file_is_an_error_when_loaded_and_skipped_if_asked(tmp_path, caplog):
    fill(tmp_path, {"a": 10, "b": 10})
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    (tmp_path / "a" / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    dataset = open_source(f"folder:{tmp_path}")
    assert sum(sizes(dataset).values()) == 21
    split = next(split for split in dataset.splits.values() if "a/cut.jpg" in split.names)
    with pytest.raises(InputError, match=r"a/cut\.jpg.* where a run trains on it, set config.skip_broken\.$"):
        split.load(split.names.index("a/cut.jpg"))
    dataset = open_source(f"folder:{tmp_path}", skip_broken=True)
    assert sum(sizes(dataset).values()) == 20
    assert "a/cut.jpg" in caplog.text


# --- what a user can get wrong ---


def _no_images(folder: pathlib.Path) -> str:
    (folder / "a").mkdir()
    return f"folder:{folder}"


def _compressed(folder: pathlib.Path) -> str:
    return packed(fill(folder / "pets", {"a": 3, "b": 3}), folder / "p.tar.gz", "w:gz")


def _empty_class(folder: pathlib.Path) -> str:
    fill(folder, {"train/cat": 5, "test/cat": 2, "test/dog": 2})
    return f"folder:{folder}"


def _empty_class_folder(folder: pathlib.Path) -> str:
    fill(folder, {"cat": 5, "dog": 0})
    return f"folder:{folder}"


def _loose(folder: pathlib.Path) -> str:
    fill(folder, {"train/cat": 5, "test": 2})
    return f"folder:{folder}"


def _beside(folder: pathlib.Path) -> str:
    return f"folder:{fill(folder, {'train/cat': 3, 'extra/cat': 3})}"


def _floats(folder: pathlib.Path) -> str:
    np.savez(folder / "f.npz", x=np.zeros((5, 4, 4), np.float32), y=np.zeros(5, int))
    return f"npz:{folder}/f.npz"


def _lengths(folder: pathlib.Path) -> str:
    return save_npz(folder / "l.npz", labels=np.zeros(7, int))


def _labels(values: list[float]) -> Callable[[pathlib.Path], str]:
    return lambda folder: save_npz(folder / "v.npz", labels=np.resize(values, 40))


def _pickled(folder: pathlib.Path) -> str:
    np.savez(folder / "p.npz", x=np.array([{}], dtype=object), y=np.zeros(1))
    return f"npz:{folder}/p.npz"


def _text(folder: pathlib.Path) -> str:
    (folder / "t.npz").write_text("hello")
    return f"npz:{folder}/t.npz"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("digitss", {}, "unknown data source 'digitss': did you mean digits"),
        ("digits", {"kind": "clasification"}, "did you mean classification"),
        ("digits", {"val_fraction": 1.0}, "val_fraction"),
        ("digits", {"per_class": 500}, "500 labels a class are more than class '0' has"),
        ("digits", {"per_class": 5, "kind": "regression"}, "need a task with classes"),
        ("digits", {"classes": 5}, "label [5-9] of 'digits' is out of range: 5 classes"),
        ("digits", {"kind": "binary"}, "out of range: 2 classes"),
        ("digits", {"kind": "multi_label"}, "of 0 and 1"),
        ("digits", {"fold": (5, 5)}, r"fold=5 of folds=5"),
        ("npz:/nowhere.npz", {}, "no such file: '/nowhere.npz'"),
        ("tar:/nowhere.tar", {}, "no such file: '/nowhere.tar'"),
        ("folder:/nowhere", {}, "no such folder: '/nowhere'"),
        ("tfds:mnist@/nowhere", {}, "prepare it: python scripts/prepare_data.py tfds mnist --out /nowhere"),
        (_no_images, {}, "holds no images"),
        (_compressed, {}, "decompress it to .tar"),
        (_empty_class, {}, "1 of 2 classes .* without training images: 'dog'"),
        (_empty_class_folder, {}, "without training images: 'dog'"),
        (_loose, {}, "in no class folder"),
        (_beside, {}, "'extra' beside them"),
        (_floats, {}, r"float32 \(5, 4, 4\); it must be uint8"),
        (_lengths, {}, "40 images x but 7 labels y"),
        (_labels([0, 1, 2.5]), {}, "whole numbers"),
        (_labels([0, -1]), {}, r"label -1 .* out of range: 1 classes .*; number the classes from 0\.$"),
        (_labels([1, 2]), {}, "without training images: '0'"),
        (_labels([0.5, np.nan]), {"kind": "regression"}, "20 NaN"),
        (_pickled, {}, "plain arrays"),
        (_text, {}, "plain arrays"),
    ],
)
def test_bad_input(tmp_path, source: Any, options, message):
    if callable(source):
        source = source(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        open_source(source, **options)
    assert "\n" not in str(caught.value)


def test_classes_may_be_wider_than_the_data(tmp_path):
    dataset = open_source(save_npz(tmp_path / "a.npz", labels=np.arange(40) % 2 + 3), classes=7)
    assert dataset.classes == tuple("0123456")
