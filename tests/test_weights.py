"""Readers, fetching and known names of pretrained weights: every format by hand, every error by its message."""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import http.server
import io
import os
import pathlib
import pickle
import runpy
import tarfile
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from huggingface_hub import constants

from tl import models, weights
from tl.errors import InputError
from tl.preprocess import Preprocess
from tl.weights import fetch, known, readers, torchfile

BF16 = np.dtype(ml_dtypes.bfloat16)


# PyTorch files written by hand: the same opcodes as torch.save's, without torch.


class Name(NamedTuple):
    """A GLOBAL opcode; callable only because save_reduce asks for that."""

    module: str
    name: str

    def __call__(self):
        raise AssertionError


class Storage(NamedTuple):
    kind: str
    key: str
    data: np.ndarray


class Tensor:
    def __init__(
        self, storage: Storage, offset: int, size: tuple, stride: tuple, rebuild="_rebuild_tensor_v2"
    ):
        self.storage, self.args, self.rebuild = storage, (offset, size, stride), rebuild


class Pickler(pickle._Pickler):  # the Python one: its save_global can be replaced
    def __init__(self, file, protocol: int, view: bool):
        super().__init__(file, protocol)
        self.view = view

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            pid = ("storage", Name("torch", obj.kind), obj.key, "cuda:0", obj.data.size)
            return (*pid, None) if self.view else pid
        return None

    def reducer_override(self, obj):
        if isinstance(obj, Tensor):
            more = (False, OrderedDict()) if obj.rebuild.endswith("v2") else ()
            return Name("torch._utils", obj.rebuild), (obj.storage, *obj.args, *more)
        return NotImplemented

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        else:
            super().save(obj, save_persistent_id)


def _dump(value: Any, protocol: int = 2, view: bool = False) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol, view).dump(value)
    return file.getvalue()


def _storages(value: Any) -> list[Storage]:
    if isinstance(value, Tensor):
        return [value.storage]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return list({s.key: s for v in values for s in _storages(v)}.values())


def write_zip(path: pathlib.Path, value: Any) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", _dump(value))
        archive.writestr("archive/byteorder", "little")
        for storage in _storages(value):
            archive.writestr(f"archive/data/{storage.key}", storage.data.tobytes())
        archive.writestr("archive/version", "3\n")


def write_legacy(path: pathlib.Path, value: Any) -> None:
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    storages = _storages(value)
    body = b"".join(map(_dump, (torchfile.MAGIC, 1001, system))) + _dump(value, view=True)
    body += _dump([storage.key for storage in storages])
    for storage in storages:
        body += storage.data.size.to_bytes(8, "little") + storage.data.tobytes()
    path.write_bytes(body)


WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy], ids=["zip", "legacy"])


def _tensor(kind: str, key: str, data: np.ndarray) -> Tensor:
    strides = tuple(s // data.itemsize for s in data.strides)
    return Tensor(Storage(kind, key, data.reshape(-1)), 0, data.shape, strides)


def _checkpoint() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Tensors of every kind as torch would save them, and what must come out."""
    grid = np.arange(48, dtype=np.float32).reshape(6, 8)
    shared = Storage("FloatStorage", "7", grid.reshape(-1))
    half, brain = np.array([0.5, -2, 3], np.float16), np.array([1, -0.5, 256, 3], BF16)
    state = OrderedDict(
        {
            "module.whole": Tensor(shared, 0, (6, 8), (8, 1), rebuild="_rebuild_tensor"),
            "module.turned": Tensor(shared, 1, (2, 3), (1, 16)),  # grid.T[1:3, ::2]
            "module.piece": Tensor(shared, 19, (2,), (1,)),
            "module.spread": Tensor(shared, 5, (3, 2), (0, 0)),  # expand(): one element seen six times
            "module.half": _tensor("HalfStorage", "1", half),
            "module.brain": _tensor("BFloat16Storage", "2", brain),
            "module.count": _tensor("LongStorage", "3", np.array(2**40 + 1, np.int64)),
            "module.none": Tensor(shared, 0, (0, 3), (3, 1)),
            "module.mask": _tensor("BoolStorage", "4", np.array([True, False])),
        }
    )
    wanted = {
        "whole": grid,
        "turned": grid.T[1:3, ::2][:, :3],
        "piece": grid[2, 3:5],
        "spread": np.full((3, 2), 5, np.float32),
        "half": half,
        "brain": brain,
        "count": np.array(2**40 + 1, np.int64),
        "none": np.zeros((0, 3), np.float32),
        "mask": np.array([True, False]),
    }
    return state, wanted


def _same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].flags.c_contiguous, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@WRITERS
def test_torch_files_without_torch(tmp_path: pathlib.Path, write: Callable) -> None:
    state, wanted = _checkpoint()
    best = _tensor("FloatStorage", "9", np.array(91.7, np.float32))
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
        _same(tensors, wanted)
        assert meta == {}


def test_entries_beside_the_weights_are_read_over(tmp_path: pathlib.Path) -> None:
    state, wanted = _checkpoint()
    beside = {
        "args": argparse.Namespace(lr=0.1, tags={1, 2}),
        "best": np.float64(91.73),
        "curve": np.arange(3.0),
        "milestones": collections.Counter([30, 60]),
        "log": collections.defaultdict(list, {"loss": [1.0]}),
    }
    write_zip(tmp_path / "a.pth", {**beside, "state_dict": state})
    _same(readers.read(tmp_path / "a.pth")[0], wanted)


def test_real_torch_file_equals_its_safetensors(tl_data: pathlib.Path) -> None:
    found, _ = readers.read(tl_data / "weights/cifar10_resnet20.th")
    wanted, _ = readers.read(tl_data / "weights/cifar10_resnet20.safetensors")
    _same(found, wanted)


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
    state, _ = _checkpoint()
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
    state, _ = _checkpoint()
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
            with pytest.raises(InputError, match="truncated|the file is empty|bare pickle") as caught:
                readers.read(path)
            assert str(path) in str(caught.value)


def test_damaged_torch_files_end_in_an_input_error(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "damaged"
    write_legacy(path, _checkpoint()[0])
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
    write_zip(file, {"student": {"w": _tensor("FloatStorage", "0", np.ones(1, np.float32))}, "teacher": {}})
    assert list(readers.read(file)[0]) == ["w"]


def test_npz_and_foreign_safetensors(tmp_path: pathlib.Path) -> None:
    kernel = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    (tmp_path / "bit").write_bytes(_npz(**{"resnet/root_block/standardized_conv2d/kernel": kernel}))
    _same(readers.read(tmp_path / "bit")[0], {"resnet/root_block/standardized_conv2d/kernel": kernel})
    tensors = {"module.a": np.array([1, 2], BF16), "module.b": np.array(3, np.int64)}
    safetensors.numpy.save_file(tensors, tmp_path / "st", {"format": "pt"})
    found, meta = readers.read(tmp_path / "st")
    _same(found, {"a": tensors["module.a"], "b": tensors["module.b"]})
    assert meta == {"format": "pt"}


# The project's own format.


def _flat(value: float = 1.0, classes: int = 3) -> dict[str, np.ndarray]:
    return {
        "params/backbone/stem/conv/kernel": np.full((3, 3, 3, 2), value, np.float32),
        "params/head/kernel": np.arange(2 * classes, dtype=np.float32).reshape(2, classes) * value,
        "stats/backbone/stem/bn/mean": np.array([value, 2], np.float32),
    }


def test_own_files_round_trip_and_are_deterministic(tmp_path: pathlib.Path) -> None:
    flat = {
        **_flat(),
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
    _same(found, {name: np.asarray(value, order="C") for name, value in flat.items()})
    assert found_meta == {**meta, "format": "tl"}
    _same(safetensors.numpy.load_file(tmp_path / "b"), found)


def test_a_failed_write_changes_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.write(tmp_path / "a", _flat(), {})
    before = (tmp_path / "a").read_bytes()

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        weights.write(tmp_path / "a", _flat(2), {})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == before
    with pytest.raises(TypeError, match="must be strings"):
        weights.write(tmp_path / "a", _flat(), {"steps": 3})  # type: ignore[dict-item]


def test_tree_digest_sees_everything_but_order() -> None:
    flat = _flat()
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


# Where weights come from.


def test_local_specs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/one"
    with pytest.raises(InputError, match="no such run 'runs/one'"):
        fetch.locate("run:runs/one")
    run.mkdir(parents=True)
    with pytest.raises(InputError, match="unfinished.*resume it first"):
        fetch.locate("run:runs/one")
    weights.write(run / "weights.safetensors", _flat(), {})
    assert fetch.locate("run:runs/one").samefile(run / "weights.safetensors")
    assert fetch.locate("file:runs/one/weights.safetensors").is_file()
    for spec, message in (
        ("file:runs/one", "write run:runs/one"),
        ("file:gone.pth", r"'file:gone\.pth' are not a file"),
        ("file:a,b.pth", "comma, at which config arguments are split"),
        ("runs/one/weights.safetensors", "did you mean file:runs/one"),
        ("resnet50", "unknown weights 'resnet50'"),
        ("hf:resnet50", r"write hf:ORG/NAME"),
        ("https://example.org/a.pth", "without a checksum"),
        ("https://example.org/a.pth#sha256=12345", "without a checksum"),
        ("http://example.org/a.pth#sha256=12345678", "plain http"),
    ):
        with pytest.raises(InputError, match=message):
            fetch.locate(spec)


def test_known_table() -> None:
    assert len({row.source for row in known.TABLE}) == len(known.TABLE)
    for row in known.TABLE:
        assert row.model in models.names()
        assert row.source.startswith(("hf:", "https:")) or row.source == "bundled"
        assert len(row.sha256) in (0, 8, 16)
        assert row.sha256 or not row.source.startswith("https:")  # a URL is always checked
        assert known.of_source(row.source) is row
    own_files_only = {f"resnet{depth}_cifar" for depth in (32, 44, 56, 110)} | {"mobilenet_v2_tf"}
    assert set(models.names()) == set(known.KNOWN) | own_files_only
    row = known.of_source("hf:timm/resnet50.tv2_in1k@main")
    assert row is not None
    assert row.preprocess == Preprocess(size=224, resize=232)
    assert known.default("bit_resnet50x1").preprocess == Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3)
    for spec in ("", "known"):
        with pytest.raises(
            InputError, match="no pretrained weights are known for the model 'resnet56_cifar'.*file:"
        ):
            weights.load(spec, "resnet56_cifar")
        assert fetch.resolve(spec, "resnet18") == "hf:timm/resnet18.tv_in1k"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    files: dict[str, bytes]
    requests: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; below /cut/ it promises the whole and sends a half; HEAD is what a hub answers."""

    server: Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        body = self.server.files.get(self.path.removeprefix("/cut"))
        self.send_response(404 if body is None else 200)
        if body is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        body = body or b""
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if self.path.startswith("/cut") else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.files, server.requests = {}, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_download_is_checked_kept_and_found_again(
    server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("TL_CACHE", str(cache))
    body = os.urandom(3_000_000)  # several chunks
    digest = hashlib.sha256(body).hexdigest()
    server.files["/w/net.pth"] = body
    url = f"http://127.0.0.1:{server.server_port}/w/net.pth"

    with pytest.raises(InputError, match=f"has the sha256 {digest[:16]}, not 00000000.*nothing was kept"):
        fetch.locate(f"{url}#sha256=00000000")
    with pytest.raises(InputError, match="without a checksum"):
        fetch.locate(url)
    with pytest.raises(InputError, match="broke off after 1500000 of 3000000 bytes"):
        fetch.locate(f"{url.replace('/w/', '/cut/w/')}#sha256={digest}")
    with pytest.raises(InputError, match="cannot fetch.*404"):
        fetch.locate(f"{url}x#sha256={digest}")
    assert list(cache.iterdir()) == []

    server.requests.clear()
    path = fetch.locate(f"{url}#sha256={digest.upper()}")
    assert path.read_bytes() == body
    for form in (digest, digest[:8]):
        assert fetch.locate(f"{url}#sha256={form}") == path
    assert len(server.requests) == 1
    path.write_bytes(body[:-1] + b"?")  # damaged on disk: fetched again, not trusted
    assert fetch.locate(f"{url}#sha256={digest}").read_bytes() == body
    assert len(server.requests) == 2
    assert [file.name for file in cache.iterdir()] == [f"{digest}-net.pth"]


def test_a_known_url_needs_no_checksum(
    server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TL_CACHE", str(tmp_path))
    server.files["/a.pth"] = b"abc"
    url = f"http://127.0.0.1:{server.server_port}/a.pth"
    monkeypatch.setattr(known, "TABLE", (known.Known("resnet18", url, "MIT", sha256="ba7816bf"),))
    assert fetch.locate(url).read_bytes() == b"abc"
    monkeypatch.setattr(known, "TABLE", (known.Known("resnet18", url, "MIT", sha256="ba7816b0"),))
    with pytest.raises(InputError, match="not ba7816b0"):
        fetch.locate(url)


def test_download_without_a_server(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    server.shutdown()
    server.server_close()
    start = time.monotonic()
    with pytest.raises(InputError, match="check the network"):
        fetch.locate(f"http://127.0.0.1:{server.server_port}/a.pth#sha256={'0' * 64}")
    assert time.monotonic() - start < 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="check the network and the disk"):
        fetch.locate(f"http://127.0.0.1:{server.server_port}/a.pth#sha256={'0' * 64}")


@pytest.fixture
def hub(server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    address = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace(constants.ENDPOINT, address)
    )
    monkeypatch.setattr(constants, "ENDPOINT", address)
    return server


def _seed(folder: pathlib.Path, repo: str, filename: str, content: bytes) -> pathlib.Path:
    """A file in the hub's cache as its client lays it out."""
    root = folder / f"models--{repo.replace('/', '--')}"
    path = root / "snapshots" / ("a" * 40) / filename
    for parent in (path.parent, root / "refs"):
        parent.mkdir(parents=True, exist_ok=True)
    (root / "refs/main").write_text("a" * 40)
    path.write_bytes(content)
    return path


def test_hub_cache_comes_before_the_network(
    hub: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    path = _seed(tmp_path / "hub", "timm/net", "model.safetensors", b"1")
    other = _seed(tmp_path / "hub", "timm/net", "sub/net.bin", b"2")
    assert fetch.locate("hf:timm/net") == path
    assert fetch.locate("hf:timm/net@main") == path
    assert fetch.locate("hf:timm/net:sub/net.bin") == other
    assert fetch.locate(f"hf:timm/net@{'a' * 40}:sub/net.bin") == other
    start = time.monotonic()
    for spec in ("hf:timm/other", "hf:timm/net@v2", "hf:timm/net:absent.bin"):
        with pytest.raises(InputError, match=f"'{spec}' are not in the local cache .* HF_HUB_OFFLINE is set"):
            fetch.locate(spec)
    assert time.monotonic() - start < 1
    assert hub.requests == []


def test_hub_download(hub: Server, tmp_path: pathlib.Path) -> None:
    hub.files["/timm/net/resolve/main/model.safetensors"] = b"weights"
    assert fetch.locate("hf:timm/net").read_bytes() == b"weights"
    count = len(hub.requests)
    assert fetch.locate("hf:timm/net").read_bytes() == b"weights"
    assert len(hub.requests) == count
    with pytest.raises(InputError, match="has no file 'net.bin'"):
        fetch.locate("hf:timm/net:net.bin")
    with pytest.raises(InputError, match="not a valid repository name"):
        fetch.locate("hf:timm/a--b")


def test_hub_without_a_network_fails_at_once(hub: Server) -> None:
    hub.shutdown()
    hub.server_close()
    start = time.monotonic()
    with pytest.raises(
        InputError, match="'hf:timm/net': cannot fetch it from http://127.* check the network"
    ):
        fetch.locate("hf:timm/net")
    assert time.monotonic() - start < 2


# From a spec to a tree.


def test_own_weights_are_for_their_own_model(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "weights.safetensors"
    meta = weights.metadata("resnet20_cifar", Preprocess(size=32, resize=32), ["ant", "bee", "cat"])
    weights.write(path, _flat(), meta)
    for spec in (f"file:{path}", f"run:{tmp_path}"):
        loaded = weights.load(spec, "resnet20_cifar")
        assert loaded is not None
        _same(loaded.flat, _flat())
        assert loaded.preprocess == Preprocess(size=32, resize=32)
        assert loaded.classes == ("ant", "bee", "cat")
        assert loaded.source == spec
        assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        with pytest.raises(InputError, match="for the model 'resnet20_cifar', but the model is 'resnet50'"):
            weights.load(spec, "resnet50")
    assert weights.load("none", "resnet50") is None
    weights.write(path, _flat(), {**meta, "preprocess": "{}"})
    with pytest.raises(InputError, match="metadata .* damaged"):
        weights.load(f"file:{path}", "resnet20_cifar")
    weights.write(path, {"params/backbone/stem/conv/kernel": np.ones(2, BF16)}, weights.metadata("resnet18"))
    loaded = weights.load(f"file:{path}", "resnet18")
    assert loaded is not None
    assert loaded.flat["params/backbone/stem/conv/kernel"].dtype == np.float32
    assert (loaded.preprocess, loaded.classes) == (None, None)


def test_foreign_weights_get_this_projects_names(tmp_path: pathlib.Path) -> None:
    kernel = np.arange(16 * 3 * 3 * 3, dtype=np.float16).reshape(16, 3, 3, 3)
    write_zip(tmp_path / "a.th", {"state_dict": {"module.conv1.weight": _tensor("HalfStorage", "0", kernel)}})
    loaded = weights.load(f"file:{tmp_path / 'a.th'}", "resnet20_cifar")
    assert loaded is not None
    found = loaded.flat["params/backbone/stem/conv/kernel"]
    np.testing.assert_array_equal(found, kernel.transpose(2, 3, 1, 0))
    assert found.dtype == np.float32
    write_zip(tmp_path / "a.th", {"encoder.weight": _tensor("HalfStorage", "0", kernel)})
    with pytest.raises(InputError, match=r"encoder\.weight"):
        weights.load(f"file:{tmp_path / 'a.th'}", "resnet20_cifar")


def test_known_sources_bring_their_preprocessing_and_digest(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    tensors = {"conv1.weight": np.ones((16, 3, 3, 3), np.float32)}
    content = safetensors.numpy.save(tensors, {"format": "pt"})
    _seed(tmp_path, "timm/net", "model.safetensors", content)
    digest = hashlib.sha256(content).hexdigest()
    special = Preprocess(size=40, resize=48)
    row = known.Known("resnet20_cifar", "hf:timm/net", "MIT", sha256=digest[:16], preprocess=special)
    monkeypatch.setattr(known, "TABLE", (row,))
    loaded = weights.load("hf:timm/net", "resnet20_cifar")
    assert loaded is not None
    assert (loaded.preprocess, loaded.sha256) == (special, digest)
    _seed(tmp_path, "timm/net", "model.safetensors", safetensors.numpy.save(tensors, {"format": "other"}))
    with pytest.raises(InputError, match=f"not {digest[:16]} as published"):
        weights.load("hf:timm/net", "resnet20_cifar")
    loaded = weights.load("hf:timm/net@main", "resnet20_cifar")  # a named revision is taken knowingly
    assert loaded is not None
    assert loaded.preprocess == special


def test_specs_split_at_plus_before_a_spec() -> None:
    assert weights.split_specs("") == [""]
    assert weights.split_specs("file:a+b.pth") == ["file:a+b.pth"]
    assert weights.split_specs("run:a+file:b+c+hf:x/y@main:z") == ["run:a", "file:b+c", "hf:x/y@main:z"]


def test_soup_is_the_mean(tmp_path: pathlib.Path) -> None:
    meta = weights.metadata("resnet18", Preprocess(), ["a", "b", "c"])
    for index, value in enumerate((1.0, 2.0, 6.0)):
        weights.write(tmp_path / str(index), _flat(value), meta)
    spec = "+".join(f"file:{tmp_path / str(index)}" for index in range(3))
    soup = weights.load(spec, "resnet18")
    assert soup is not None
    _same(soup.flat, {name: np.asarray(v, np.float32) for name, v in _flat(3.0).items()})
    assert (soup.classes, soup.source, len(soup.sha256)) == (("a", "b", "c"), spec, 64)
    digests = [readers.file_sha256(tmp_path / str(index)) for index in range(3)]
    assert soup.sha256 == hashlib.sha256("\n".join(digests).encode()).hexdigest()


def test_soups_of_different_things_are_refused(tmp_path: pathlib.Path) -> None:
    meta = weights.metadata("resnet18", Preprocess(), ["a", "b", "c"])
    first, second = tmp_path / "one", tmp_path / "two"
    spec = f"file:{first}+file:{second}"
    weights.write(first, _flat(), meta)
    missing = {name: value for name, value in _flat().items() if "head" not in name}
    for flat, its_meta, message in (
        (_flat(classes=4), meta, r"1 leaves differ, among them params/head/kernel \(\(2, 3\) and \(2, 4\)\)"),
        (missing, meta, r"params/head/kernel \(\(2, 3\) and missing\)"),
        (_flat(), weights.metadata("resnet18", Preprocess(), ["b", "a", "c"]), "their classes differ"),
        (_flat(), weights.metadata("resnet18", Preprocess(size=64), ["a", "b", "c"]), "preprocessing differ"),
        (_flat(), weights.metadata("resnet34"), "'resnet34', but the model is 'resnet18'"),
    ):
        weights.write(second, flat, its_meta)
        with pytest.raises(InputError, match=message) as caught:
            weights.load(spec, "resnet18")
        assert str(second) in str(caught.value)
    with pytest.raises(InputError, match="mix 'none' into a soup"):
        weights.load(f"file:{first}+none", "resnet18")


# The script.


def test_convert_script(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = pathlib.Path(__file__).parents[1] / "scripts/convert_weights.py"
    main = runpy.run_path(str(script))["main"]
    kernel = np.ones((16, 3, 3, 3), np.float32)
    write_legacy(tmp_path / "a.th", {"conv1.weight": _tensor("FloatStorage", "0", kernel)})
    arguments = [str(tmp_path / "a.th"), "--model", "resnet20_cifar", str(tmp_path / "a.safetensors")]
    assert main(arguments) == 0
    assert "licence: not known" in capsys.readouterr().out
    loaded = weights.load(f"file:{tmp_path / 'a.safetensors'}", "resnet20_cifar")
    assert loaded is not None
    assert list(loaded.flat) == ["params/backbone/stem/conv/kernel"]
    assert loaded.preprocess == models.preprocess("resnet20_cifar")
    _, meta = readers.read(tmp_path / "a.safetensors")
    assert meta["source_sha256"] == readers.file_sha256(tmp_path / "a.th")
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert main([str(tmp_path / "gone"), "--model", "resnet20_cifar", str(tmp_path / "b")]) == 2
    assert not (tmp_path / "b").exists()
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(row.source in listed for row in known.TABLE)
    assert "terms of their own" in listed
