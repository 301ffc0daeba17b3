"""Sources and splits: what each gives."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from data_files import fill, packed, picture, save_npz

from tl.data import embedded, splits
from tl.data.sources import open_source
from tl.errors import InputError


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
        np.savez(tmp_path / name, x_train=images, y_train=y, x_test=images[:4], y_test=y[:4], classes=["no", "yes"])
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


def test_regression_and_multi_label(tmp_path):
    targets = np.linspace(0, 1, 40)
    dataset = open_source(save_npz(tmp_path / "r.npz", labels=targets), kind="regression", task="age")
    assert dataset.classes == ()
    assert dataset.splits["train"].labels["age"].dtype == np.float32
    several = (np.arange(120).reshape(40, 3) % 2).astype(np.int64)
    dataset = open_source(save_npz(tmp_path / "m.npz", labels=several), kind="multi_label")
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
    dataset = open_source(f"folder:{tmp_path}", kind="multi_label")
    assert dataset.classes == ("red", "round")
    (tmp_path / "labels.csv").write_text(
        "\n".join(["file,kind", *(f"images/{i}.png,{'ab'[i % 2]}" for i in range(20))])
    )
    assert open_source(f"folder:{tmp_path}").classes == ("a", "b")
    (tmp_path / "labels.csv").write_text("file,kind\nimages/99.png,a\n")
    with pytest.raises(InputError, match=r"99\.png"):
        open_source(f"folder:{tmp_path}")


def test_fingerprint_follows_the_content(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6})
    first = open_source(f"folder:{tmp_path}", seed=0).fingerprint
    assert open_source(f"folder:{tmp_path}", seed=1, val_fraction=0.3).fingerprint == first
    picture(9, size=(50, 50)).save(tmp_path / "a" / "0.png")
    assert open_source(f"folder:{tmp_path}").fingerprint != first
    prints = [
        open_source(save_npz(tmp_path / "x.npz", labels=np.arange(40) % k), val_fraction=0).fingerprint
        for k in (2, 2, 4)
    ]
    assert prints[0] == prints[1] != prints[2]


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
