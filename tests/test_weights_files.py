"""Readers and the writer of weight files: every format by hand, every error by its message."""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import io
import os
import pathlib
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from weight_files import (
    BF16,
    Storage,
    Tensor,
    assert_same,
    checkpoint,
    flat_tree,
    tensor,
    write_legacy,
    write_zip,
)

from tl import weights
from tl.errors import InputError
from tl.preprocess import Preprocess
from tl.weights import readers

WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy], ids=["zip", "legacy"])


@WRITERS
def test_torch_files_without_torch(tmp_path: pathlib.Path, write: Callable) -> None:
    state, wanted = checkpoint()
    best = tensor("FloatStorage", "9", np.array(91.7, np.float32))
    beside = {"epoch": 3, "best_prec1": best, "arch": "resnet20", "optimizer": {"state": {0: {"m": best}}}}
    for nested in (
        state,
        {"state_dict": state, **beside},
        {"net": state, **beside},
        {"model": {"state_dict": state}, "acc": best},
        {"generator": state, "epoch": 1},
    ):
        write(tmp_path / "weights.bin", nested)
        tensors, meta = readers.read(tmp_path / "weights.bin")
        assert_same(tensors, wanted)
        assert meta == {}


def test_entries_beside_the_weights_are_read_over(tmp_path: pathlib.Path) -> None:
    state, wanted = checkpoint()
    beside = {
        "args": argparse.Namespace(lr=0.1, tags={1, 2}),
        "best": np.float64(91.73),
        "curve": np.arange(3.0),
        "milestones": collections.Counter([30, 60]),
        "log": collections.defaultdict(list, {"loss": [1.0]}),
    }
    write_zip(tmp_path / "a.pth", {**beside, "state_dict": state})
    assert_same(readers.read(tmp_path / "a.pth")[0], wanted)


def test_real_torch_file_equals_its_safetensors(tl_data: pathlib.Path) -> None:
    found, _ = readers.read(tl_data / "weights/cifar10_resnet20.th")
    wanted, _ = readers.read(tl_data / "weights/cifar10_resnet20.safetensors")
    assert_same(found, wanted)


class Call:
    """Pickles as a call of `function`, which a careless reader would run."""

    def __init__(self, function: Callable, *args: Any):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@WRITERS
@pytest.mark.parametrize("kind", ["system", "exec", "attribute"])
def test_code_is_refused_and_never_runs(tmp_path: pathlib.Path, write: Callable, kind: str) -> None:
    trace = tmp_path / "ran"
    evil, name = {
        "system": (Call(os.system, f"touch {trace}"), rf"{os.system.__module__}\.system"),
        "exec": (Call(exec, f"open({str(trace)!r}, 'w')"), r"builtins\.exec"),
        "attribute": (Call(getattr, {}, "clear"), r"builtins\.getattr"),
    }[kind]
    state, _ = checkpoint()
    write(tmp_path / "evil.pth", {"state_dict": state, "extra": evil})
    with pytest.raises(InputError, match=f"carries code .{name}. and is refused"):
        readers.read(tmp_path / "evil.pth")
    assert not trace.exists()


def test_forged_strides_do_not_read_beyond_the_storage(tmp_path: pathlib.Path) -> None:
    data = Storage("FloatStorage", "0", np.zeros(8, np.float32))
    for offset, size, stride in (
        (0, (9,), (1,)),
        (6, (2,), (2,)),
        (0, (2, 2), (7, 2)),
        (1 << 40, (1,), (1,)),
    ):
        write_zip(tmp_path / "a.pth", {"w": Tensor(data, offset, size, stride)})
        with pytest.raises(InputError, match="'w' reaches beyond its storage"):
            readers.read(tmp_path / "a.pth")
    for offset, size, stride in ((-1, (1,), (1,)), (4, (2,), (-1,)), (0, (2, 2), (1,)), (0, (2.0,), (1,))):
        write_zip(tmp_path / "a.pth", {"w": Tensor(data, offset, size, stride)})
        with pytest.raises(InputError, match="impossible shape"):
            readers.read(tmp_path / "a.pth")


def test_truncated_files_are_named(tmp_path: pathlib.Path) -> None:
    state, _ = checkpoint()
    path = tmp_path / "cut"
    makers: list[Callable[[], object]] = [
        lambda: write_zip(path, state),
        lambda: write_legacy(path, state),
        lambda: weights.write(path, {"params/a": np.ones((4, 5), np.float32)}, {"model": "m"}),
        lambda: path.write_bytes(_npz(a=np.ones((4, 5), np.float32))),
    ]
    for make in makers:
        make()
        whole = path.read_bytes()
        readers.read(path)
        for length in (0, 5, 9, 12, 30, len(whole) // 3, len(whole) // 2, len(whole) - 40, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=r"truncated|the file is empty|bare pickle") as caught:
                readers.read(path)
            assert str(path) in str(caught.value)


def test_damaged_torch_files_end_in_an_input_error(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "damaged"
    write_legacy(path, checkpoint()[0])
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for place in random.integers(20, len(whole) - 400, size=200):
        broken = bytearray(whole)
        broken[place] ^= int(random.integers(1, 256))
        path.write_bytes(bytes(broken))
        with contextlib.suppress(InputError):  # some bytes are only a name or a value
            readers.read(path)


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def test_other_files_are_told_apart(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "old.pth"
    with tarfile.open(file, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(InputError, match=r"tar checkpoint .* newer upload"):
        readers.read(file)
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    for content, message in (
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        (pickle.dumps({"a": 1}), "bare pickle"),
        (b"hello, these are no weights", "not a safetensors"),
        (other.getvalue(), "zip archive, but neither"),
        (_npz(a=np.array([{}], object)), "pickled objects and is refused"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            readers.read(file)
    for missing in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="give an existing file"):
            readers.read(missing)
    write_zip(file, {"epoch": 3, "history": [1, 2]})
    with pytest.raises(InputError, match=r"no state dict \(its top-level keys: epoch, history\)"):
        readers.read(file)
    write_zip(file, {"student": {"w": tensor("FloatStorage", "0", np.ones(1, np.float32))}, "teacher": {}})
    assert list(readers.read(file)[0]) == ["w"]


def test_npz_and_foreign_safetensors(tmp_path: pathlib.Path) -> None:
    kernel = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    (tmp_path / "bit").write_bytes(_npz(**{"resnet/root_block/standardized_conv2d/kernel": kernel}))
    assert_same(readers.read(tmp_path / "bit")[0], {"resnet/root_block/standardized_conv2d/kernel": kernel})
    tensors = {"module.a": np.array([1, 2], BF16), "module.b": np.array(3, np.int64)}
    safetensors.numpy.save_file(tensors, tmp_path / "st", {"format": "pt"})
    found, meta = readers.read(tmp_path / "st")
    assert_same(found, {"a": tensors["module.a"], "b": tensors["module.b"]})
    assert meta == {"format": "pt"}


# The project's own format.


def test_own_files_round_trip_and_are_deterministic(tmp_path: pathlib.Path) -> None:
    flat = {
        **flat_tree(),
        "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "brain": np.array([1, 2, 3], BF16),
        "scalar": np.array(7, np.int32),
        "none": np.zeros((0, 2), np.float32),
    }
    meta = weights.metadata("resnet18", Preprocess(size=32), ["ä", "b"], source="x")
    weights.write(tmp_path / "sub/a.safetensors", flat, meta)
    weights.write(tmp_path / "b", dict(reversed(flat.items())), dict(reversed(meta.items())))
    assert (tmp_path / "sub/a.safetensors").read_bytes() == (tmp_path / "b").read_bytes()
    found, found_meta = readers.read(tmp_path / "b")
    assert_same(found, {name: np.asarray(value, order="C") for name, value in flat.items()})
    assert found_meta == {**meta, "format": "tl"}
    assert_same(safetensors.numpy.load_file(tmp_path / "b"), found)


def test_a_failed_write_changes_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.write(tmp_path / "a", flat_tree(), {})
    before = (tmp_path / "a").read_bytes()

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        weights.write(tmp_path / "a", flat_tree(2), {})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == before
    with pytest.raises(TypeError, match="must be strings"):
        weights.write(tmp_path / "a", flat_tree(), {"steps": 3})  # type: ignore[dict-item]


def test_tree_digest_sees_everything_but_order() -> None:
    flat = flat_tree()
    digest = weights.tree_sha256(flat)
    assert digest == weights.tree_sha256(dict(reversed(flat.items())))
    name = "stats/backbone/stem/bn/mean"
    for other in (
        {**flat, name: flat[name].astype(np.float64)},
        {**flat, name: flat[name].reshape(1, 2)},
        {**flat, name: -flat[name]},
        {**{k: v for k, v in flat.items() if k != name}, name + "s": flat[name]},
    ):
        assert weights.tree_sha256(other) != digest
    # By hand, so that the definition cannot drift: stored digests must keep their meaning.
    wanted = hashlib.sha256(b"a\0float32\0(2,)\0" + np.array([1, 2], np.float32).tobytes()).hexdigest()
    assert weights.tree_sha256({"a": np.array([1, 2], np.float32)}) == wanted
