"""The server of an exported folder: its answers, its limits, what it does with rubbish, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx
import numpy as np
import pytest
import toy
from PIL import Image
from starlette.testclient import TestClient

from scripts import bench_serve, serve
from tl import build, export
from tl.errors import InputError
from tl.exported.load import Model
from tl.exported.prepare import prepare
from tl.serving import app
from tl.serving.network import Network

PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=y"}
NAMED = b'--y\r\nContent-Disposition: form-data; name="a"; filename="%s"\r\n\r\nx\r\n--y--\r\n'


def encoded(image, kind="PNG", **how):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **how)
    return buffer.getvalue()


def pictures(count, side=12):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side + i % 3, 3), dtype=np.uint8) for i in range(count)]


def exported(place):
    """The folder of a small network that was trained for a step; digits in, ten classes out."""
    build.run(toy.toy_config(**toy.LENET, steps=1), place / "run", quiet=True, report=False)
    export.export(place / "run", place / "out", check=0)
    return place / "out"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def network(folder):
    return Network(folder, most=8, pixels=10_000)


@pytest.fixture(scope="module")
def client(network):
    limits = app.Limits(body=100_000, images=4, seconds=20, wait=0.01)
    with TestClient(app.make(network, limits), raise_server_exceptions=False) as found:
        yield found


def error_of(response, *codes):
    """The sentence of a refusal, which is JSON and nothing else."""
    assert response.status_code in (codes or range(400, 500)), (response.status_code, response.text)
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def by_load_py(folder, images):
    model = Model(folder)
    return model.predict(np.stack([prepare(image, model.about["preprocess"]) for image in images]))["label"]


def test_a_picture_is_answered_as_load_py_answers(client, folder):
    image = pictures(1)[0]
    wanted = by_load_py(folder, [image])[0]
    bodies = {
        "image/png": encoded(image),
        "application/octet-stream": encoded(image, "BMP"),
        "application/json": json.dumps({"images": [base64.b64encode(encoded(image)).decode()]}).encode(),
    }
    for kind, body in bodies.items():
        response = client.post("/predict", content=body, headers={"Content-Type": kind})
        assert response.status_code == 200
        (answer,) = response.json()["answers"]
        said = answer["tasks"]["label"]
        np.testing.assert_allclose(list(said["probabilities"].values()), wanted, rtol=1e-5)
        assert said["class"] == str(wanted.argmax())
        assert said["probability"] == max(said["probabilities"].values())
        assert "grad_cam" not in answer


def test_more_pictures_than_a_request_may_hold(client):
    assert "may hold 4 pictures" in error_of(client.post("/predict", files=[("f", ("a.png", b"x"))] * 9), 413)


def test_several_pictures_keep_their_order(client, folder):
    images = pictures(4)
    files = [("files", (f"{i}.png", encoded(image))) for i, image in enumerate(images)]
    answers = client.post("/predict", files=files).json()["answers"]
    wanted = by_load_py(folder, images)
    assert [answer["name"] for answer in answers] == [f"{i}.png" for i in range(4)]
    found = [list(answer["tasks"]["label"]["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_map_comes_where_it_is_asked_for(client, network):
    (answer,) = client.post("/predict?explain=true", content=encoded(pictures(1)[0]), headers=PNG).json()["answers"]
    drawn = Image.open(io.BytesIO(base64.b64decode(answer["grad_cam"].partition("base64,")[2])))
    assert drawn.size == (network.preprocess.size, network.preprocess.size)
    assert "neither true nor false" in error_of(client.post("/predict?explain=maybe", content=b"x", headers=PNG), 400)


def test_what_can_be_read(client):
    assert client.get("/health").json()["status"] == "ok"
    for path, kind in (("/", "text/html"), ("/docs", "text/html"), ("/metrics", "text/plain")):
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        for word in ("http://", "https://"):
            assert word not in response.text.replace("http://HOST:PORT", ""), "nothing comes from elsewhere"
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert 'tl_requests_total{path="/health",status="200"}' in client.get("/metrics").text
    client.get("/made/up")
    assert "made" not in client.get("/metrics").text
    error_of(client.get("/made/up"), 404)
    error_of(client.get("/predict"), 405)


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"", PNG, "is no picture"),
        (b"x" * 200_000, PNG, "more than 100000 bytes"),
        (b"x", {"Content-Type": "text/plain"}, "'text/plain' is not taken"),
        (b"x", {"Content-Type": ""}, "is not taken"),
        (b"[1]", JSON, "as JSON"),
        (b'{"images": "abc"}', JSON, "as JSON"),
        (b'{"images": [1]}', JSON, "as JSON"),
        (b'{"images": ["@@"]}', JSON, "as JSON"),
        (b'{"images": []}', JSON, "there is no picture"),
        (b'{"images": ["aaaa", "aaaa", "aaaa", "aaaa", "aaaa"]}', JSON, "5 pictures"),
        (b"[" * 50_000, JSON, "as JSON"),
        (b"x", {"Content-Type": "multipart/form-data"}, ""),
        (b"x", FORM, ""),
        (b"--y--\r\n", FORM, "there is no picture"),
        (b'--y\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--y--\r\n', FORM, "no file"),
        (NAMED % b"a", {"Content-Type": FORM["Content-Type"] + "; charset=undefined"}, "send them in utf-8"),
        (NAMED % rb"\ud800", {"Content-Type": FORM["Content-Type"] + "; charset=unicode_escape"}, "'?' is"),
        (encoded(np.zeros((200, 60, 3), np.uint8)), PNG, "200 pixels, and 10000 are the most"),
        (encoded(np.zeros((1, 2_000, 3), np.uint8)), PNG, "2000 x 1 pixels"),  # which resizing would enlarge
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", PNG, "is no picture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(client, body, headers, said):
    assert said in error_of(client.post("/predict", content=body, headers=headers))


def broken(rng, kind):
    """Bytes that are no whole picture."""
    image = encoded(rng.choice(PICTURES), rng.choice(("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")))
    if kind == "short":
        return image[: rng.randrange(len(image) // 2)]
    if kind == "random":
        return rng.randbytes(rng.randrange(2000))
    if kind == "headed":
        return image[: rng.randrange(4, 30)] + rng.randbytes(rng.randrange(1, 500))
    return json.dumps({"images": [rng.random()]}).encode()


PICTURES = pictures(5)


def test_a_thousand_broken_files_leave_the_server_alive(client):
    rng, codes = random.Random(0), Counter[int]()
    for number in range(1000):
        kind = ("short", "random", "headed", "other")[number % 4]
        response = client.post("/predict", content=broken(rng, kind), headers=PNG)
        # A file whose end alone is missing, or hurt behind its header, may still be read; nothing else is answered.
        if response.status_code != 200 or kind != "headed":
            error_of(response)
        codes[response.status_code] += 1
    print(f"\n1000 broken files: {dict(codes)}")  # for docs/serving.md
    assert client.post("/predict", content=encoded(PICTURES[0]), headers=PNG).status_code == 200


def made_up(rng, schema):
    """A value that fits a schema of the document, or, one time in three, one that does not."""
    if rng.random() < 1 / 3:
        return rng.choice([None, -1, 1e308, "", "\0\u2028", [], {}, [[]], {"images": 0}, True, "x" * 5000])
    kind = schema.get("type")
    if kind == "object":
        names = list(schema.get("properties", {})) or ["a", "file"]
        inner = schema.get("properties", {})
        return {name: made_up(rng, inner.get(name, schema.get("additionalProperties") or {})) for name in names}
    if kind == "array":
        return [made_up(rng, schema["items"]) for _ in range(rng.randrange(4))]
    if kind == "boolean":
        return rng.choice(["true", "false", "1", "0"])
    data = rng.choice([encoded(rng.choice(PICTURES)), broken(rng, "random")])
    return base64.b64encode(data).decode() if schema.get("contentEncoding") == "base64" else data


def test_requests_made_up_from_the_document(client):
    """Every operation with every kind of body: what comes back is in the document, and is what it says."""
    rng, document, seen = random.Random(1), client.get("/openapi.json").json(), Counter()
    assert document["openapi"].startswith("3.1")
    for number in range(600):
        path = rng.choice(list(document["paths"])) if number % 2 else "/predict"
        ((verb, operation),) = document["paths"][path].items()
        how: dict[str, Any] = {
            "params": {item["name"]: made_up(rng, item["schema"]) for item in operation.get("parameters", ())}
        }
        how["params"] = {name: str(value) for name, value in how["params"].items() if rng.random() < 0.5}
        if "requestBody" in operation:
            kind, body = rng.choice(list(operation["requestBody"]["content"].items()))
            value = made_up(rng, body["schema"])
            if kind == "multipart/form-data" and isinstance(value, dict):
                how["files"] = {n: (n, v) if isinstance(v, bytes) else str(v) for n, v in value.items()}
            else:
                how["content"] = value if isinstance(value, bytes) else json.dumps(value).encode()
                how["headers"] = {"Content-Type": kind.replace("*", "png")}
        response = client.request(verb.upper(), path, **how)
        seen[path, response.status_code] += 1
        described = operation["responses"][str(response.status_code)]  # a code that is not there fails
        assert response.headers["content-type"].partition(";")[0] in described["content"]
        if response.status_code != 200:
            error_of(response)
        elif path == "/predict":
            for answer in response.json()["answers"]:
                assert {"name", "tasks"} <= answer.keys() <= {"name", "tasks", "grad_cam"}
    print(f"\n600 made-up requests: {dict(seen)}")
    assert {("/predict", 200), ("/predict", 400)} <= seen.keys()
    assert {(path, 200) for path in document["paths"]} <= seen.keys()


def test_a_real_server_under_load_and_its_end(folder, capsys, monkeypatch):
    """Nothing is lost or mixed up; with SIGTERM what was begun is answered before the process ends with 0."""
    monkeypatch.setenv("XLA_FLAGS", "")
    with bench_serve.serving(folder, "--batch", "4", "--wait", "0.3") as address:
        pngs = [encoded(image) for image in PICTURES]
        found = asyncio.run(bench_serve.load(address, pngs, requests=60, together=8))
        assert (found["lost"], found["mixed"], len(found["seconds"])) == (0, 0, 60)
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{address}/predict", content=pngs[0], headers=PNG, timeout=20))
        )
        asking.start()
        while not answers and "tl_requests_in_flight 2" not in httpx.get(f"{address}/metrics").text:
            time.sleep(0.02)  # until it waits for others, beside the question about it
    asking.join()
    assert answers[0].status_code == 200


def test_what_cannot_be_served(folder, tmp_path, capsys):
    assert serve.main([str(tmp_path), "--port", str(bench_serve.free_port())]) == 2
    assert "is no exported run, it has no model.json" in capsys.readouterr().err
    assert serve.main([str(folder), "--batch", "0"]) == 2
    assert "--batch=0 is too small" in capsys.readouterr().err
    with pytest.raises(InputError, match="is no picture"):
        Network(folder, 1).read(b"", "x")
    cut = encoded(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))[:90]
    with pytest.raises(InputError, match=r"'x' is broken or no picture \(.*\); mend or remove it\.$"):
        Network(folder, 1).read(cut, "x")  # whoever asks has no config
