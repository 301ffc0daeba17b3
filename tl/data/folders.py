"""Image files in class folders, on disk or inside one tar file."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import os
import pathlib
import tarfile
import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tl.data import images
from tl.data.base import Dataset, Split
from tl.errors import InputError

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LABELS = "labels.csv"

Files = Mapping[str, Callable[[], bytes]]  # path inside the source, with / -> a function that reads the file


def folder(argument: str, task: str) -> Dataset:
    """`folder:DIR` with DIR/CLASS/file or DIR/{train,val,valid,validation,test}/CLASS/file; see build."""
    root = pathlib.Path(argument).expanduser()
    if not root.is_dir():
        raise InputError(f"no such folder: '{root}' (data=folder:DIR).")
    paths: list[pathlib.Path] = []
    folders: set[str] = set()
    for at, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = sorted(d for d in subfolders if not d.startswith("."))
        relative = pathlib.Path(at).relative_to(root)
        folders.update((relative / d).as_posix() for d in subfolders)
        paths += [relative / f for f in files]
    readers = {path.as_posix(): (root / path).read_bytes for path in paths}
    identity = []
    for path in sorted(readers):
        status = (root / path).stat()
        identity.append((path, status.st_size, status.st_mtime_ns))
    return build(readers, folders, str(root), identity)


def tar(argument: str, task: str) -> Dataset:
    """`tar:FILE` or `tar:FILE#FOLDER`: as `folder:`, read from an uncompressed tar file without unpacking
    it."""
    name, _, inside = argument.partition("#")
    path = pathlib.Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"no such file: '{path}' (data=tar:FILE).")
    try:
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
    except tarfile.TarError as error:
        raise InputError(
            f"'{path}' is no whole, plain tar file ({error}): a compressed one has no random access, so "
            f"decompress it to .tar, or unpack it and use folder:DIR."
        ) from error
    prefix = inside.strip("/") + "/" if inside else ""
    named = {_clean(m.name)[len(prefix) :]: m for m in members if _clean(m.name).startswith(prefix)}
    whole = _TarFile(path)
    readers = {name: functools.partial(whole.read, m.offset_data, m.size) for name, m in named.items() if m.isfile()}
    identity = [(name, m.size, m.mtime) for name, m in named.items()]
    return build(readers, {name for name, m in named.items() if m.isdir()}, argument, identity)


class _TarFile:
    """One open file for all members and threads; closed when the last function that reads from it is gone."""

    def __init__(self, path: pathlib.Path):
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)  # has no position of its own that threads could disturb


def _clean(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _hidden(path: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.split("/"))


def build(files: Files, folders: set[str], source: str, identity: Sequence[object]) -> Dataset:
    """Splits from paths. Classes are the sorted names of the class folders, with all files below each.

    A single folder around everything is looked through. Hidden files and files without a picture's extension
    are left out. With a file `labels.csv` (columns `file`, maybe `split`, then one a label) the labels come
    from it instead.
    """
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()
    visible = {path for path in files if not _hidden(path)}
    pictures = sorted(path for path in visible if path.lower().endswith(images.EXTENSIONS))
    if not pictures:
        raise InputError(f"'{source}' holds no images ({', '.join(e[1:] for e in images.EXTENSIONS)}).")
    top = _wrapper(pictures)
    tables = [path for path in (LABELS, top + LABELS) if path in visible]
    if tables:
        base = tables[0].removesuffix(LABELS)
        parts, classes = _from_table(files[tables[0]](), base, files, source)
    else:
        folders = {f[len(top) :] for f in folders if f.startswith(top) and not _hidden(f)}
        parts, classes = _from_folders([p[len(top) :] for p in pictures], folders, source)
        parts = {name: [(top + path, label) for path, label in rows] for name, rows in parts.items()}
    return Dataset({name: _split(rows, files) for name, rows in parts.items()}, classes, digest)


def _wrapper(pictures: Sequence[str]) -> str:
    """The folders around all class or split folders, as `a/b/` or ``."""
    top = ""
    while True:
        rest = [path[len(top) :].split("/") for path in pictures]
        first = {parts[0] for parts in rest}
        # two more levels must follow, a class folder and a file, or the single folder is itself a class or a
        # split
        if len(first) > 1 or min(map(len, rest)) < 3 or first <= set(SPLIT_FOLDERS):
            return top
        top += first.pop() + "/"


def _from_folders(
    pictures: Sequence[str], folders: set[str], source: str
) -> tuple[dict[str, list[tuple[str, int]]], tuple[str, ...]]:
    """{split: [(path, label)]} and class names, by the folders in each path."""
    firsts = {path.split("/")[0] for path in pictures if "/" in path}
    split_layout = bool(firsts & set(SPLIT_FOLDERS))
    if split_layout and firsts - set(SPLIT_FOLDERS):
        odd = sorted(firsts - set(SPLIT_FOLDERS))[0]
        raise InputError(f"'{source}' holds split folders and '{odd}' beside them; move one or the other elsewhere.")
    depth = 2 if split_layout else 1  # parts of a path before the file
    loose = next((path for path in pictures if path.count("/") < depth), None)
    if loose:
        raise InputError(f"'{loose}' in '{source}' is in no class folder; put it in one or add a {LABELS}.")
    _refuse_domains([path.split("/")[depth - 1 :] for path in pictures], source)
    # an empty class folder still names a class, so that it is missed
    named = {f.split("/")[depth - 1] for f in folders if f.count("/") == depth - 1 and _counts(f, split_layout)}
    classes = sorted(named | {path.split("/")[depth - 1] for path in pictures})
    label = {name: i for i, name in enumerate(classes)}
    parts: dict[str, list[tuple[str, int]]] = {}
    for path in pictures:
        names = path.split("/")
        split = SPLIT_FOLDERS[names[0]] if split_layout else "train"
        parts.setdefault(split, []).append((path, label[names[depth - 1]]))
    return parts, tuple(classes)


def _counts(path: str, split_layout: bool) -> bool:
    return not split_layout or path.split("/")[0] in SPLIT_FOLDERS


def _refuse_domains(paths: Sequence[Sequence[str]], source: str) -> None:
    """DOMAIN/CLASS/file would be read as one class a domain: folders that hold only folders."""
    below: dict[str, set[str]] = {}
    for parts in paths:
        below.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    if all(len(names - {""}) > 1 and "" not in names for names in below.values()):
        one = sorted(below)[0]
        raise InputError(
            f"'{source}' holds folders of folders ({one}/{sorted(below[one])[0]}, ...), not class folders; "
            f"name the one to use: folder:DIR/{one} or tar:FILE#{one}."
        )


def _from_table(
    data: bytes, base: str, files: Files, source: str
) -> tuple[dict[str, list[tuple[str, object]]], tuple[str, ...]]:
    """{split: [(path, label)]} from labels.csv: numbers as they are, one column of words as classes."""
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{LABELS} of '{source}' is no UTF-8 table of commas: {error}.") from error
    columns = [c for c in (rows[0] if rows else {}) if c not in ("file", "split", None)]
    if not rows or "file" not in rows[0] or not columns:
        raise InputError(f"{LABELS} of '{source}' needs a row of names: file, maybe split, then one for each label.")
    cells = [[row[c] or "" for c in columns] for row in rows]
    words: tuple[str, ...] = ()
    try:
        values: Sequence[object] = [np.array([float(v) for v in line], np.float64) for line in cells]
        words = tuple(columns) if len(columns) > 1 else ()
    except ValueError as error:
        if len(columns) > 1 or any(not line[0] for line in cells):
            raise InputError(f"{LABELS} of '{source}' has a label that is no number: {error}.") from error
        words = tuple(sorted({line[0] for line in cells}))
        values = [words.index(line[0]) for line in cells]
    parts: dict[str, list[tuple[str, object]]] = {}
    for row, value in zip(rows, values, strict=True):
        name, split = base + row["file"], row.get("split") or "train"
        if name not in files:
            raise InputError(f"{LABELS} of '{source}' names '{row['file']}', which is not there.")
        if split not in SPLIT_FOLDERS:
            raise InputError(f"{LABELS} of '{source}' has split '{split}'; it must be train, val or test.")
        parts.setdefault(SPLIT_FOLDERS[split], []).append((name, value))
    return parts, words


def _split(rows: Sequence[tuple[str, object]], files: Files) -> Split:
    paths = [path for path, _ in rows]
    readers = [files[path] for path in paths]

    def load(i: int) -> np.ndarray:
        try:
            data = readers[i]()
        except OSError as error:
            raise InputError(f"'{paths[i]}' cannot be read: {error}.") from error
        return images.decode(data, paths[i], images.SKIPPED)

    return Split(load, {"label": np.asarray([label for _, label in rows])}, paths)
