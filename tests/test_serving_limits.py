"""What the server does not wait for, does not take on, and says of it: by a network that answers when it is let."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from scripts import serve
from tl.serving import app

BYTES = {"Content-Type": "application/octet-stream"}
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"


class Held:
    """A network that has begun and waits for `release`."""

    most = 1
    model = SimpleNamespace(about={"model": "m", "method": "m", "tasks": {}, "jax": "0"})

    def __init__(self):
        self.begun, self.release = threading.Event(), threading.Event()

    def read(self, data, name):
        return data

    def answer(self, questions):
        self.begun.set()
        assert self.release.wait(20)
        return [{"tasks": {}}] * len(questions)


@contextlib.contextmanager
def running(network: Any, **limits):
    """The address of a server as scripts/serve.py makes it, in a thread."""
    known = app.Limits(**limits)
    door = socket.create_server(("127.0.0.1", 0))
    address, server = door.getsockname(), serve.server(app.make(network, known), known.seconds)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def closed(connection, most=5.0):
    """Seconds until the other side closes, and what it said before; fails after `most`."""
    began, said = time.monotonic(), b""
    connection.settimeout(0.05)
    while time.monotonic() - began < most:
        with contextlib.suppress(TimeoutError):
            found = connection.recv(65536)
            if not found:
                return time.monotonic() - began, said
            said += found
    pytest.fail(f"still open after {most} s; it has said {said!r}")


def answer(connection):
    """Its head in small letters, and the JSON behind it."""
    found = b""
    while not found.endswith(b"}"):
        found += (more := connection.recv(65536))
        assert more, found
    head, _, body = found.partition(b"\r\n\r\n")
    return head.decode().lower(), json.loads(body)


@pytest.fixture(scope="module")
def impatient():
    with running(Held(), seconds=0.5) as address:
        yield address


@pytest.mark.parametrize("begun", [b"", b"POST /pre", HEAD[:-2]], ids=["nothing", "a word", "all but its end"])
def test_a_head_that_does_not_come_whole(impatient, begun):
    with socket.create_connection(impatient, timeout=10) as connection:
        connection.sendall(begun)
        seconds, said = closed(connection)
    assert seconds > 0.3
    assert not said


def test_a_body_that_ends_with_its_connection(impatient, caplog):
    """Is the client's doing, and no error of the server."""
    with socket.create_connection(impatient, timeout=10) as connection:
        connection.sendall(HEAD + b"abc")
    counted = ""
    for _ in range(100):
        counted = httpx.get("http://{}:{}/metrics".format(*impatient)).text
        if "/predict" in counted:
            break
        time.sleep(0.05)
    assert 'tl_requests_total{path="/predict",status="400"}' in counted
    assert 'status="500"' not in counted
    assert "ClientDisconnect" not in caplog.text


def test_half_a_head_behind_a_whole_request(impatient):
    """Between requests uvicorn's own clock runs, which the first byte of the next stops."""
    with socket.create_connection(impatient, timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection)[1]["status"] == "ok"
        connection.sendall(b"GET /hea")
        closed(connection)


def test_a_head_in_drops(impatient):
    """Each byte does not start the clock anew; one that is slow and in time is answered."""
    with socket.create_connection(impatient, timeout=10) as connection:
        for byte in b"GET /health HTTP/1.1":
            with contextlib.suppress(ConnectionError):
                connection.send(bytes([byte]))
            time.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            closed(connection, 0.3)
    with socket.create_connection(impatient, timeout=10) as connection:
        for part in (b"GET /health", b" HTTP/1.1\r\nHost: x\r\n", b"\r\n"):
            connection.sendall(part)
            time.sleep(0.02)
        assert answer(connection)[1]["status"] == "ok"


def test_a_body_that_stalls(impatient):
    with socket.create_connection(impatient, timeout=10) as connection:
        connection.sendall(HEAD + b"some")
        head, said = answer(connection)
        assert head.startswith("http/1.1 408 ")
        assert "content-type: application/json" in head
        assert said == {"error": "the body took longer than 0.5 s to arrive: send it faster."}
        connection.sendall(b"and")  # which stops uvicorn's clock
        closed(connection)


def test_a_slow_network():
    network = Held()
    with running(network, seconds=0.3) as (host, port):
        response = httpx.post(f"http://{host}:{port}/predict", content=b"x", headers=BYTES)
        network.release.set()
    refusal(response)


def refusal(response):
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/json"
    assert response.headers["retry-after"] == "1"
    assert response.json() == {"error": "too many are waiting: come again."}


def test_a_failure_of_the_network_is_told_and_passes():
    network: Any = Held()
    turns = iter((0, 1))
    network.answer = lambda questions: [{"tasks": {}}] * (1 // next(turns))
    with TestClient(app.make(network, app.Limits()), raise_server_exceptions=False) as client:
        response = client.post("/predict", content=b"x", headers=BYTES)
        assert response.status_code == 500
        assert list(response.json()) == ["error"]
        assert "ZeroDivision" not in response.text
        assert client.post("/predict", content=b"x", headers=BYTES).status_code == 200


async def three(limits):
    """One request under way, then two at once: the first of these that is answered, then all, once the network may."""
    network: Any = Held()
    application = app.make(network, limits)
    transport = httpx.ASGITransport(application)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://x") as client,
    ):

        def ask():
            return asyncio.create_task(client.post("/predict", content=b"x", headers=BYTES))

        first = ask()
        assert await asyncio.to_thread(network.begun.wait, 10)
        others = [ask(), ask()]
        done, _ = await asyncio.wait(others, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        health = await client.get("/health")
        network.release.set()
        return [task.result() for task in done], await asyncio.gather(first, *others), health


def test_a_full_queue():
    """One is with the network, one waits, and the third may not."""
    early, answers, _ = asyncio.run(three(app.Limits(waiting=1)))
    (refused,) = early
    refusal(refused)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503]


def test_too_many_at_once():
    """Who asks how it is doing is told so all the same."""
    early, answers, health = asyncio.run(three(app.Limits(together=1)))
    for refused in early:
        refusal(refused)
    assert [answer.status_code for answer in answers] == [200, 503, 503]
    assert health.status_code == 200


def test_too_many_at_once_of_a_real_server():
    network = Held()
    with running(network, together=1) as (host, port):
        answers: list[httpx.Response] = []
        address = f"http://{host}:{port}/predict"
        first = threading.Thread(target=lambda: answers.append(httpx.post(address, content=b"x", headers=BYTES)))
        first.start()
        assert network.begun.wait(10)
        refusal(httpx.post(address, content=b"x", headers=BYTES))
        network.release.set()
        first.join()
    assert answers[0].status_code == 200


def test_a_port_that_is_taken(tmp_path, capsys):
    """It is said before the folder is looked at."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert serve.main([str(tmp_path), "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 is taken: end what listens there, or name another" in capsys.readouterr().err
    assert serve.main([str(tmp_path), "--host", "192.0.2.1"]) == 2  # which is kept for documents, and nobody's
    assert "--host=192.0.2.1 --port=8000 is not to be had" in capsys.readouterr().err
