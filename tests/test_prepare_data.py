"""Prepared data: folder -> array_record -> tfds:NAME, and tfrecord -> array_record, without TensorFlow."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import shutil
import struct
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from tl.data.sources import open_source
from tl.errors import InputError

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "prepare_data.py"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("prepare_data", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def prepared(main, tmp_path_factory):
    """(class folders, data directory) of the same twelve pictures and six for validation."""
    root = tmp_path_factory.mktemp("prepare")
    for split, count in (("train", 6), ("val", 3)):
        for at, name in enumerate(("cat", "dog")):
            folder = root / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("CMYK" if i == 1 else "RGB", (6, 5)).point(lambda _, v=at * 100 + i * 9: v).save(
                    folder / f"{i}.{'jpg' if i == 1 else 'png'}"
                )
    assert main(["folder", str(root / "photos"), "--name", "pets", "--out", str(root / "data")]) == 0
    return root / "photos", root / "data"


def rows(dataset, split: str) -> list[tuple[bytes, int]]:
    part = dataset.splits[split]
    return sorted((part.load(i).tobytes(), int(part.labels["label"][i])) for i in range(len(part)))


def test_prepared_equals_folder(prepared):
    photos, data = prepared
    ours = open_source(f"tfds:pets@{data}", val_fraction=0)
    folder = open_source(f"folder:{photos}", val_fraction=0)
    assert ours.classes == folder.classes == ("cat", "dog")
    for split in ("train", "test"):
        assert rows(ours, split) == rows(folder, split)
    assert open_source(f"tfds:pets:1.0.0@{data}").fingerprint == ours.fingerprint
    assert open_source(f"tfds:pets@{data / 'pets' / '1.0.0'}").fingerprint == ours.fingerprint
    assert "tensorflow" not in sys.modules


def test_default_data_directory(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared[1]))
    assert len(open_source("tfds:pets").splits["train"]) == 11


def as_tfrecord(prepared_folder: pathlib.Path, target: pathlib.Path) -> None:
    """The same directory as TFDS writes it by default, in TFRecord's framing: length and two checksums."""
    from array_record.python.array_record_module import ArrayRecordReader

    shutil.copytree(prepared_folder, target)
    for path in list(target.glob("*.array_record*")):
        reader = ArrayRecordReader(str(path))
        with open(target / path.name.replace("array_record", "tfrecord"), "wb") as file:
            for record in reader.read_all():
                file.write(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))
        reader.close()
        path.unlink()
    info = json.loads((target / "dataset_info.json").read_text())
    del info["fileFormat"]
    (target / "dataset_info.json").write_text(json.dumps(info))


def test_convert_from_tfrecord(main, prepared, tmp_path, capsys):
    _, data = prepared
    source = tmp_path / "old" / "pets" / "1.0.0"
    as_tfrecord(data / "pets" / "1.0.0", source)
    with pytest.raises(InputError, match=r"prepare_data\.py convert"):
        open_source(f"tfds:pets@{tmp_path / 'old'}")
    assert main(["convert", str(source), "--out", str(tmp_path / "new")]) == 0
    first, second = (open_source(f"tfds:pets@{d}", val_fraction=0) for d in (data, tmp_path / "new"))
    for split in ("train", "test"):
        assert rows(first, split) == rows(second, split)
    assert main(["convert", str(source), "--out", str(tmp_path / "new")]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folder", "/nowhere", "--name", "x"], "no such folder: '/nowhere'"),
        (["folder", "/nowhere", "--name", "No Name"], "lower-case letters"),
        (["convert", "/nowhere"], "no prepared data set"),
    ],
)
def test_bad_input_exits_2(main, tmp_path, capsys, arguments, message):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_stock_data_sets_need_tensorflow(main, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["tfds", "mnist", "--out", str(tmp_path)]) == 2
    assert "pip install -e '.[prepare]'" in capsys.readouterr().err


def test_converting_what_is_array_record_already(main, prepared, tmp_path, capsys):
    assert main(["convert", str(prepared[1] / "pets" / "1.0.0"), "--out", str(tmp_path)]) == 2
    assert "nothing to convert" in capsys.readouterr().err


def test_several_at_once_and_missing_features(tmp_path):
    """Features beyond one class: a list of classes an image, written by TFDS itself."""
    import io

    import tensorflow_datasets as tfds

    def png(value: int) -> io.BytesIO:
        buffer = io.BytesIO()
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "PNG")
        buffer.seek(0)
        return buffer

    class Tags(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(),
                "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["a", "b", "c"])),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"everything": ((i, {"image": png(i), "tags": ["a", "b", "c"][: i % 4]}) for i in range(20))}

        def _generate_examples(self):
            raise NotImplementedError

    Tags.name = "tags"
    Tags(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    train = open_source(f"tfds:tags@{tmp_path}", task="tags", kind="multi_label").splits["train"]
    for i in range(len(train)):
        assert train.labels["tags"][i].tolist() == [float(j < train.load(i)[0, 0, 0] % 4) for j in range(3)]
    with pytest.raises(InputError, match=r"no feature 'label' or 'label'; name the task after one of .*tags"):
        open_source(f"tfds:tags@{tmp_path}")


def test_mnistm_is_the_difference_of_digit_and_patch(main, tmp_path):
    """Black digits leave the photograph, white ones its negative; a seed makes the same file again."""
    digits = {f"x_{s}": np.zeros((n, 28, 28), np.uint8) for s, n in (("train", 6), ("test", 3))}
    digits["x_train"][3:] = 255
    np.savez(tmp_path / "mnist.npz", allow_pickle=False, **digits, y_train=np.arange(6), y_test=np.arange(3))
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for i in range(2):
            path = tmp_path / f"{i}.png"
            Image.fromarray(np.full((40, 50, 3), 40 + 100 * i, np.uint8)).save(path)
            archive.add(path, arcname=f"photos/{i}.png")
    command = ["mnistm", str(tmp_path / "mnist.npz"), "--photos", str(tmp_path / "photos.tar"), "--out"]
    for name in ("a.npz", "b.npz"):
        assert main([*command, str(tmp_path / name)]) == 0
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert all(np.array_equal(a[key], b[key]) for key in a)
        train, test = a["x_train"], a["x_test"]
        assert train.shape == (6, 28, 28, 3)
        shade = int(train[0, 0, 0, 0])
        assert np.unique(train[:3]).tolist() == [shade]
        assert np.unique(train[3:]).tolist() == [255 - shade]
        assert np.unique(test).tolist() == [180 - shade]  # the other photograph
        assert a["y_test"].tolist() == [0, 1, 2]
    assert main([*command, str(tmp_path / "a.npz")]) == 2
    assert main([*command, str(tmp_path / "new" / "folder" / "a.npz")]) == 0
    assert main(["mnistm", *command[1:3], str(tmp_path / "0.png"), "--out", str(tmp_path / "c.npz")]) == 2
    np.savez(tmp_path / "half.npz", allow_pickle=False, x_train=digits["x_train"], y_train=np.arange(6))
    assert main(["mnistm", str(tmp_path / "half.npz"), *command[2:], str(tmp_path / "c.npz")]) == 2
