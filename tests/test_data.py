"""Sources and splits: what each gives, and one clear sentence for what a user can get wrong."""

from __future__ import annotations

import io
import pathlib
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl.data import embedded, splits
from tl.data.images import decode
from tl.data.sources import open_source
from tl.errors import InputError


def picture(value: int = 100, size: tuple[int, int] = (10, 8)) -> Image.Image:
    return Image.fromarray(np.full((*size, 3), value, np.uint8))


def fill(folder: pathlib.Path, counts: dict[str, int]) -> pathlib.Path:
    """`counts[path]` PNG files in each folder, with pixel values that tell them apart."""
    for at, (path, count) in enumerate(counts.items()):
        (folder / path).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(at * 20 + i).save(folder / path / f"{i}.png")
    return folder


def save_npz(path: pathlib.Path, n: int = 40, labels: np.ndarray | None = None) -> str:
    images = np.arange(n * 16, dtype=np.uint8).reshape(n, 4, 4)
    np.savez(path, x=images, y=np.arange(n) % 4 if labels is None else labels)
    return f"npz:{path}"


def sizes(dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


# --- embedded ---


def test_digits():
    first, second = open_source("digits", seed=0), open_source("digits", seed=1)
    assert sizes(first) == {"train": 807, "val": 90, "test": 900}
    assert first.classes == tuple("0123456789")
    test = first.splits["test"]
    assert list(test.names) == list(second.splits["test"].names)
    assert list(first.splits["val"].names) != list(second.splits["val"].names)
    names = [set(split.names) for split in first.splits.values()]
    assert len(set.union(*names)) == 1797  # disjoint and complete
    image = test.load(0)
    assert image.dtype == np.uint8
    assert image.shape == (8, 8, 3)
    assert max(test.load(i).max() for i in range(20)) == 255
    counts = np.bincount(test.labels["label"])
    assert counts.min() >= 87
    assert counts.max() <= 92
    assert first.fingerprint == second.fingerprint


def test_glyphs():
    dataset = open_source("glyphs")
    assert sizes(dataset) == {"train": 18600, "val": 1240, "test": 3720}
    assert len(dataset.classes) == 62
    fonts = [set(names) for names in embedded.FONTS.values()]
    assert len(set.union(*fonts)) == sum(map(len, fonts))  # no font in two splits
    split = dataset.splits["test"]
    image = split.load(200)
    assert image.shape == (32, 32, 3)
    assert image.max() > 200
    assert np.array_equal(image, open_source("glyphs", seed=5).splits["test"].load(200))
    assert not np.array_equal(image, split.load(200 + 62))
    assert dataset.classes[split.labels["label"][200]] == "E"
    for i in range(62):  # nothing is cut off: the ink stays inside the frame with room at its edges
        ink = split.load(i)[:, :, 0] > 0
        assert 3 < ink.any(0).sum() < 32
        assert 5 < ink.any(1).sum() < 32


# --- arrays ---


def test_npz_shapes_and_names(tmp_path):
    x = np.arange(24 * 25, dtype=np.uint8).reshape(24, 5, 5)
    y = np.arange(24) % 2
    for name, images in {"a": x, "b": x[..., None], "c": np.stack([x] * 3, -1)}.items():
        np.savez(
            tmp_path / name, x_train=images, y_train=y, x_test=images[:4], y_test=y[:4], classes=["no", "yes"]
        )
        dataset = open_source(f"npz:{tmp_path / name}.npz")
        assert sizes(dataset) == {"train": 22, "val": 2, "test": 4}
        assert dataset.classes == ("no", "yes")
        assert np.array_equal(dataset.splits["test"].load(1), np.stack([x[1]] * 3, -1))
        assert dataset.splits["train"].labels["label"].dtype == np.int32


def test_npz_one_set_is_cut_twice_and_test_never_moves(tmp_path):
    source = save_npz(tmp_path / "a.npz")
    first, second = open_source(source, seed=0), open_source(source, seed=1)
    assert sizes(first) == {"train": 29, "val": 3, "test": 8}
    assert np.bincount(first.splits["test"].labels["label"]).tolist() == [2, 2, 2, 2]
    assert first.splits["test"].names == second.splits["test"].names
    assert sizes(open_source(source, val_fraction=0)) == {"train": 32, "test": 8}


def test_val_becomes_test(tmp_path):
    x = np.zeros((30, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(30) % 3, x_val=x[:6], y_val=np.arange(6) % 3)
    dataset = open_source(f"npz:{tmp_path}/a.npz")
    assert sizes(dataset) == {"train": 27, "val": 3, "test": 6}
    assert dataset.splits["test"].names[0] == "val/0"


def test_regression_and_multilabel(tmp_path):
    targets = np.linspace(0, 1, 40)
    dataset = open_source(save_npz(tmp_path / "r.npz", labels=targets), kind="regression", task="age")
    assert dataset.classes == ()
    assert dataset.splits["train"].labels["age"].dtype == np.float32
    several = (np.arange(120).reshape(40, 3) % 2).astype(np.int64)
    dataset = open_source(save_npz(tmp_path / "m.npz", labels=several), kind="multilabel")
    assert dataset.classes == ("0", "1", "2")
    assert dataset.splits["train"].labels["label"].shape == (29, 3)
    dataset = open_source(save_npz(tmp_path / "b.npz", labels=np.arange(40) % 2), kind="binary")
    assert dataset.classes == ("0", "1")


# --- splits ---


def test_stratified_keeps_shares_and_the_last_image_of_a_class():
    labels = np.array([0] * 50 + [1] * 30 + [2])
    chosen = splits.stratified(labels, 0.1, np.random.default_rng(0))
    assert np.bincount(labels[chosen], minlength=3).tolist() == [5, 3, 0]


def test_kfold_is_a_partition(tmp_path):
    source = save_npz(tmp_path / "a.npz")
    folds = [open_source(source, fold=(i, 5)) for i in range(5)]
    assert {tuple(f.splits["test"].names) for f in folds} == {tuple(folds[0].splits["test"].names)}
    parts = [set(f.splits["val"].names) for f in folds]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 32
    for dataset in folds:
        assert not set(dataset.splits["train"].names) & set(dataset.splits["val"].names)
        assert np.bincount(dataset.splits["val"].labels["label"], minlength=4).min() >= 1


def test_fold_of_a_source_with_val_uses_both(tmp_path):
    x = np.arange(16, dtype=np.uint8).reshape(16, 1, 1)
    y = np.arange(16) % 2
    np.savez(
        tmp_path / "a.npz",
        x_train=x[:8],
        y_train=y[:8],
        x_val=x[8:12],
        y_val=y[8:12],
        x_test=x[12:],
        y_test=y[12:],
    )
    seen = []
    for i in range(3):
        dataset = open_source(f"npz:{tmp_path}/a.npz", fold=(i, 3))
        assert sizes(dataset) == {"train": 8, "val": 4, "test": 4}
        val = dataset.splits["val"]
        seen += [(int(val.load(j)[0, 0, 0]), int(val.labels["label"][j])) for j in range(4)]
    assert sorted(seen) == [(i, i % 2) for i in range(12)]


def test_per_class_is_nested_and_seeded():
    few, more = (open_source("digits", per_class=n).splits for n in (5, 10))
    assert np.bincount(few["train"].labels["label"]).tolist() == [5] * 10
    assert set(few["train"].names) < set(more["train"].names)
    assert few["val"].names == more["val"].names
    other = open_source("digits", per_class=5, seed=1).splits["train"]
    assert set(other.names) != set(few["train"].names)


def test_class_weights():
    weights = splits.class_weights(np.array([0, 0, 0, 2]), 4)
    np.testing.assert_allclose(weights, [4 / 6, 0, 2, 0], rtol=1e-6)


# --- folders and tar files ---


def packed(folder: pathlib.Path, target: pathlib.Path, mode: str = "w") -> str:
    with tarfile.open(target, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        archive.add(folder, arcname=folder.name)
    return f"tar:{target}"


def test_folder_equals_tar(tmp_path):
    fill(tmp_path / "pets", {"cat": 10, "dog": 12})
    (tmp_path / "pets" / "cat" / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "pets" / "notes.txt").write_text("not a picture either")
    for source in (
        f"folder:{tmp_path / 'pets'}",
        f"folder:{tmp_path}",
        packed(tmp_path / "pets", tmp_path / "p.tar"),
    ):
        dataset = open_source(source, seed=3)
        assert dataset.classes == ("cat", "dog")
        assert sizes(dataset) == {"train": 16, "val": 2, "test": 4}
        train = dataset.splits["train"]
        for i, name in enumerate(train.names):
            value = int(pathlib.Path(name).stem) + (20 if "dog" in name else 0)
            assert (train.load(i) == value).all()
            assert train.labels["label"][i] == int("dog" in name)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders(tmp_path, val):
    fill(tmp_path, {"train/a": 5, "train/b": 5, f"{val}/a": 2, f"{val}/b": 2, "test/a": 1, "test/b": 3})
    assert sizes(open_source(f"folder:{tmp_path}")) == {"train": 10, "val": 4, "test": 4}


def test_deeper_folders_belong_to_their_class(tmp_path):
    fill(tmp_path, {"train/a/images": 4, "train/b/images": 4, "val/a/images": 2, "val/b/images": 2})
    assert open_source(f"folder:{tmp_path}").classes == ("a", "b")


def test_domains_are_refused_and_can_be_named(tmp_path):
    fill(tmp_path / "office", {f"{d}/{c}": 5 for d in ("amazon", "dslr") for c in ("mug", "pen")})
    source = packed(tmp_path / "office", tmp_path / "o.tar")
    for each in (source, f"folder:{tmp_path / 'office'}"):
        with pytest.raises(InputError, match="folders of folders"):
            open_source(each)
    assert open_source(source + "#office/dslr").classes == ("mug", "pen")


def test_labels_csv(tmp_path):
    fill(tmp_path / "images", {"": 20})
    rows = [f"images/{i}.png,{'test' if i >= 16 else 'train'},{i / 10}" for i in range(20)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,split,age", *rows]))
    dataset = open_source(f"folder:{tmp_path}", kind="regression", task="age")
    assert sizes(dataset) == {"train": 14, "val": 2, "test": 4}
    np.testing.assert_allclose(dataset.splits["test"].labels["age"], [1.6, 1.7, 1.8, 1.9], rtol=1e-6)
    (tmp_path / "labels.csv").write_text(
        "\n".join(["file,red,round", *(f"images/{i}.png,{i % 2},1" for i in range(20))])
    )
    dataset = open_source(f"folder:{tmp_path}", kind="multilabel")
    assert dataset.classes == ("red", "round")
    (tmp_path / "labels.csv").write_text(
        "\n".join(["file,kind", *(f"images/{i}.png,{'ab'[i % 2]}" for i in range(20))])
    )
    assert open_source(f"folder:{tmp_path}").classes == ("a", "b")
    (tmp_path / "labels.csv").write_text("file,kind\nimages/99.png,a\n")
    with pytest.raises(InputError, match=r"99\.png"):
        open_source(f"folder:{tmp_path}")


# --- pictures ---


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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
    assert (
        decode(encoded(Image.merge("LA", [grey, Image.new("L", (4, 4), 0)])), "la")[0, 0].tolist()
        == [255] * 3
    )
    assert decode(encoded(Image.new("1", (4, 4), 1)), "bits")[0, 0].tolist() == [255] * 3
    cmyk = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), "cmyk")
    np.testing.assert_allclose(cmyk[0, 0], [255, 0, 0], atol=6)


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
    with pytest.raises(InputError, match=r"a/cut\.jpg"):
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
        ("digits", {"per_class": 500}, "per_class=500 is more than class '0' has"),
        ("digits", {"per_class": 5, "kind": "regression"}, "needs a task with classes"),
        ("digits", {"classes": 5}, "label [5-9] of 'digits' is out of range: 5 classes"),
        ("digits", {"kind": "binary"}, "out of range: 2 classes"),
        ("digits", {"kind": "multilabel"}, "of 0 and 1"),
        ("digits", {"fold": (5, 5)}, r"fold=\(5, 5\)"),
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
        (_labels([0, -1]), {}, "label -1 .* out of range"),
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


# --- real data ---


def test_real_tar_and_arrays(tl_data):
    dataset = open_source(f"tar:{tl_data / 'hymenoptera.tar'}")
    assert sizes(dataset) == {"train": 220, "val": 24, "test": 153}
    assert dataset.classes == ("ants", "bees")
    assert dataset.splits["test"].load(5).shape[2] == 3
    dataset = open_source(f"tar:{tl_data / 'office_caltech10.tar'}#webcam")
    assert sum(sizes(dataset).values()) == 295
    assert len(dataset.classes) == 10
    dataset = open_source(f"npz:{tl_data / 'usps.npz'}")
    assert sizes(dataset) == {"train": 6562, "val": 729, "test": 2007}
    cifar = open_source(f"npz:{tl_data / 'cifar10.npz'}")
    assert cifar.classes[:2] == ("airplane", "automobile")
    assert cifar.splits["test"].load(0).shape == (32, 32, 3)
