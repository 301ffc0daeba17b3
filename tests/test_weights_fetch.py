"""Fetching weights: paths, URLs and the hub against a server on loopback; nothing half-fetched is kept."""

from __future__ import annotations

import hashlib
import http.server
import os
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest
from huggingface_hub import constants
from weight_files import flat_tree, seed_hub_cache

from tl import weights
from tl.errors import InputError
from tl.weights import fetch, known

# Where weights come from.


def test_local_specs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/one"
    with pytest.raises(InputError, match="no such run 'runs/one'"):
        fetch.locate("run:runs/one")
    run.mkdir(parents=True)
    with pytest.raises(InputError, match=r"unfinished.*resume it first"):
        fetch.locate("run:runs/one")
    weights.write(run / "weights.safetensors", flat_tree(), {})
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


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    files: dict[str, bytes]
    requests: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; below /cut/ it promises all and sends half; the headers are a hub's."""

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
    with pytest.raises(InputError, match=r"cannot fetch.*404"):
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


def test_a_known_url_needs_no_checksum(server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_CACHE", str(tmp_path))
    server.files["/a.pth"] = b"abc"
    url = f"http://127.0.0.1:{server.server_port}/a.pth"
    monkeypatch.setattr(known, "TABLE", (known.Known("resnet18", url, "MIT", sha256="ba7816bf"),))
    assert fetch.locate(url).read_bytes() == b"abc"
    monkeypatch.setattr(known, "TABLE", (known.Known("resnet18", url, "MIT", sha256="ba7816b0"),))
    with pytest.raises(InputError, match="not ba7816b0"):
        fetch.locate(url)


def test_download_without_a_server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
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
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace(constants.ENDPOINT, address))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    return server


def test_hub_cache_comes_before_the_network(
    hub: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    path = seed_hub_cache(tmp_path / "hub", "timm/net", "model.safetensors", b"1")
    other = seed_hub_cache(tmp_path / "hub", "timm/net", "sub/net.bin", b"2")
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
    with pytest.raises(InputError, match=r"has no file 'net\.bin'"):
        fetch.locate("hf:timm/net:net.bin")
    with pytest.raises(InputError, match="not a valid repository name"):
        fetch.locate("hf:timm/a--b")


def test_hub_without_a_network_fails_at_once(hub: Server) -> None:
    hub.shutdown()
    hub.server_close()
    start = time.monotonic()
    with pytest.raises(InputError, match=r"'hf:timm/net': cannot fetch it from http://127.* check the network"):
        fetch.locate("hf:timm/net")
    assert time.monotonic() - start < 2


def test_a_text_model_of_the_hub_brings_its_size_and_vocabulary(hub: Server) -> None:
    folder = pathlib.Path(__file__).parent / "golden" / "texts" / "bert"
    at = "/org/bert/resolve/main/"
    hub.files |= {at + name: (folder / name).read_bytes() for name in ("model.safetensors", "config.json", "vocab.txt")}
    loaded = weights.load("hf:org/bert", "bert")
    local = weights.load(f"file:{folder}", "bert")
    assert loaded is not None
    assert local is not None
    assert (loaded.preprocess, loaded.arguments, loaded.sha256) == (local.preprocess, local.arguments, local.sha256)
    hub.files = {path.replace("/bert/", "/bare/"): body for path, body in hub.files.items() if "safetensors" in path}
    bare = weights.load("hf:org/bare", "bert")
    assert bare is not None
    assert (bare.preprocess, bare.arguments) == (None, {"vocabulary": 24})
