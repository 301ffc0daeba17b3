"""Data sets that TensorFlow Datasets prepared as array_record, read without TensorFlow."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl.data import images, tagged
from tl.data.base import Dataset, Split
from tl.data.folders import SPLIT_FOLDERS
from tl.errors import InputError
from tl.spans import NONE

INFO = "dataset_info.json"
READ_AT_ONCE = 512  # records, while the labels are gathered


def tfds(argument: str, task: str) -> Dataset:
    """`tfds:NAME[/CONFIG][:VERSION][@DIR]`; DIR is a data directory of TFDS, or the prepared directory
    itself.

    Without DIR it is $TFDS_DATA_DIR, else ~/tensorflow_datasets. The image is the feature `image` or the only
    one that is an image; where there is none, rows are sentences, the feature `text` or the only text. The label is
    the feature named `task`, else `label`, else the only class label. With a list `tokens` of texts, rows are tagged
    words, and their tags the list `tags` or `ner`.
    Splits other than train, validation and test are ignored, unless there is only one, and so are those of which every
    label is -1, kept back by whoever published the set.
    """
    name, _, place = argument.partition("@")
    folder = locate(name, pathlib.Path(place).expanduser() if place else None)
    if file_format(folder) != "array_record":
        raise InputError(
            f"'{folder}' is prepared as {file_format(folder)}, which has no random access; convert it: "
            f"python scripts/prepare_data.py convert {folder} --out NEW_DIR, then data=tfds:{name}@NEW_DIR."
        )
    import tensorflow_datasets  # half a second that no other source needs

    builder: Any = tensorflow_datasets.builder_from_directory(folder)
    features: Mapping[str, Any] = builder.info.features
    # the record files are large: their names and sizes and the two small files' contents identify them
    identity = [(p.name, p.stat().st_size) for p in sorted(folder.iterdir())]
    small = [(folder / f).read_bytes() for f in (INFO, "features.json") if (folder / f).is_file()]
    digest = hashlib.sha256(repr((identity, small)).encode()).hexdigest()
    if "tokens" in features:
        return tagged.of_sentences(_tagged(builder, argument), digest)
    (image, field), label = _row_key(features, argument), _label_key(features, task, argument)
    parts = {}
    for split, key in _splits(list(builder.info.splits), argument).items():
        # TFDS would decode without turning CMYK, palettes and 16 bits into RGB
        raw = {image: tensorflow_datasets.decode.SkipDecoding()} if field == "image" else None
        records = builder.as_data_source(key, decoders=raw)
        made = _split(records, (image, field), label, features[label], f"{name}/{key}")
        if split != "train" and (made.labels["label"] == NONE).all():
            logging.getLogger(__name__).warning("the split '%s' of '%s' has no labels: it is left out", key, name)
        else:
            parts[split] = made
    return Dataset(parts, _class_names(features[label]), digest)


def _tagged(builder: Any, argument: str) -> dict[str, list[tagged.Sentence]]:
    """{split: its sentences}, those without a word left out."""
    features = builder.info.features
    label = next((key for key in ("tags", "ner") if key in features), "")
    if not label or not (names := _class_names(features[label])):
        raise InputError(f"'tfds:{argument}' has tokens, and no list 'tags' or 'ner' of classes, only {[*features]}.")
    found: dict[str, list[tagged.Sentence]] = {}
    for split, key in _splits(list(builder.info.splits), argument).items():
        found[split] = []
        for i, record in enumerate(builder.as_data_source(key)):
            where = f"{argument.partition('@')[0]}/{key}/{i}"
            words = [sentence(word, where) for word in record["tokens"]]
            tags = [tagged.tag(names[number], f"'{where}'") for number in record[label]]
            found[split] += [(where, words, tags)] if words else []
    return found


def locate(name: str, place: pathlib.Path | None) -> pathlib.Path:
    """The prepared directory of `name`, the newest version unless one is named; else InputError."""
    if place and (place / INFO).is_file():
        return place
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    root = place or pathlib.Path(default).expanduser()
    base, _, version = name.partition(":")
    prepared = [path.parent for path in (root / base).glob(f"**/{INFO}")] if base else []
    found = [p for p in prepared if not version or p.name == version]
    if not found:
        others = f"; there is {', '.join(sorted(p.name for p in prepared))}" if prepared else ""
        raise InputError(
            f"no prepared data set '{name}' in '{root}'{others}; prepare it: python scripts/prepare_data.py "
            f"tfds {base} --out {root} (or: folder DIR --name {base} --out {root})."
        )
    if len({p.parent for p in found}) > 1:
        configs = ", ".join(sorted(p.parent.name for p in found))
        raise InputError(f"'{name}' in '{root}' has several configs: {configs}; name one: tfds:{base}/CONFIG.")
    return max(found, key=lambda p: [int(n) if n.isdigit() else -1 for n in p.name.split(".")])


def file_format(folder: pathlib.Path) -> str:
    """The record format of a prepared directory; TFDS writes none for its default, tfrecord."""
    return json.loads((folder / INFO).read_text()).get("fileFormat", "tfrecord")


def _splits(names: Sequence[str], argument: str) -> dict[str, str]:
    known = {SPLIT_FOLDERS[name]: name for name in names if name in SPLIT_FOLDERS}
    if not known and len(names) == 1:
        return {"train": names[0]}
    if not known:
        raise InputError(f"'tfds:{argument}' has no split train, validation or test, only {', '.join(names)}.")
    return known


def _row_key(features: Mapping[str, Any], argument: str) -> tuple[str, str]:
    """The feature that is read, and the field under which it is."""
    from tensorflow_datasets.core.features import Image, Text

    for kind, field in ((Image, "image"), (Text, "text")):
        keys = [key for key in features if isinstance(features[key], kind)]
        if field in keys or len(keys) == 1:
            return (field if field in keys else keys[0]), field
        if keys:
            break
    else:
        keys = list(features)
    raise InputError(f"'tfds:{argument}' must have one image or text feature, found {keys}.")


def _label_key(features: Mapping[str, Any], task: str, argument: str) -> str:
    from tensorflow_datasets.core.features import ClassLabel

    classes = [key for key in features if isinstance(features[key], ClassLabel)]
    for key in (task, "label", *(classes if len(classes) == 1 else ())):
        if key in features:
            return key
    raise InputError(
        f"'tfds:{argument}' has no feature '{task}' or 'label'; name the task after one of {list(features)}."
    )


def _class_names(feature: Any) -> tuple[str, ...]:
    return tuple(getattr(getattr(feature, "feature", feature), "names", None) or ())


def _split(records: Any, row: tuple[str, str], label: str, feature: Any, name: str) -> Split:
    values = []
    for start in range(0, len(records), READ_AT_ONCE):
        chunk = records.__getitems__(range(start, min(start + READ_AT_ONCE, len(records))))
        values += [record[label] for record in chunk]
    width = len(_class_names(feature))
    if width and hasattr(feature, "feature"):  # a sequence of classes for each image: several at once
        values = [np.isin(np.arange(width), present) for present in values]
    names = [f"{name}/{i}" for i in range(len(records))]
    key, field = row

    def load(i: int) -> Any:
        found = records[i][key]
        return images.decode(found, names[i], images.SKIPPED) if field == "image" else sentence(found, names[i])

    return Split(load, {"label": np.asarray(values)}, names, field=field)


def sentence(found: bytes, name: str) -> str:
    """The text of a record; InputError for an empty one and for one that is not utf-8."""
    try:
        text = found.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"the text '{name}' is not utf-8 ({error}): prepare the set again.") from error
    if not text:
        raise InputError(f"the text '{name}' is empty: prepare the set without it.")
    return text
