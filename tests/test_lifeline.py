"""The connections that tell who is lost: a fake runtime in place of jax's, and sockets by hand."""

from __future__ import annotations

import queue
import socket
import types
from typing import Any

import pytest

from tl import lifeline


class Client:
    """jax's store of keys."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    def key_value_set(self, key: str, value: str) -> None:
        self.held[key] = value

    def blocking_key_value_get(self, key: str, milliseconds: int) -> str:
        return self.held[key]


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def become(client, monkeypatch) -> Any:
    def start(process: int, processes: int) -> queue.Queue[int]:
        """Process number `process` of `processes` -> the numbers of those that it hears are lost."""
        here = types.SimpleNamespace(
            client=client, process_id=process, num_processes=processes, coordinator_address="127.0.0.1:1"
        )
        monkeypatch.setattr(lifeline.distributed, "global_state", here)
        monkeypatch.setattr(lifeline, "_connections", [])
        lost: queue.Queue[int] = queue.Queue()
        lifeline.hold(lost.put)
        return lost

    return start


def test_process_0_hears_of_those_that_end_without_a_word(client, become):
    lost = become(0, 4)
    host, port, token = client.held[lifeline.KEY].split()
    assert host == "127.0.0.1"
    address = (host, int(port))
    with socket.create_connection(address) as stranger:
        stranger.sendall(b"x" * (len(token) + 8))
        assert stranger.recv(1) == b""  # sent away
    others = {process: socket.create_connection(address) for process in (1, 2, 3)}
    for process, connection in others.items():
        connection.sendall(f"{token}{process:08d}".encode())
    others[1].sendall(lifeline.PEACE)
    others[1].close()
    others[3].close()
    assert lost.get(timeout=30) == 3
    others[2].close()
    assert lost.get(timeout=30) == 2
    assert lost.empty()


@pytest.mark.parametrize("peace", [False, True])
def test_others_hear_of_process_0_and_can_part(client, become, peace):
    with lifeline.listen(0) as server:
        client.held[lifeline.KEY] = f"127.0.0.1 {server.getsockname()[1]} {'t' * 32}"
        lost = become(2, 3)
        connection, _ = server.accept()
    assert connection.recv(40, socket.MSG_WAITALL) == b"t" * 32 + b"00000002"
    lifeline.part()
    assert connection.recv(1) == lifeline.PEACE
    if peace:
        connection.sendall(lifeline.PEACE)
    connection.close()
    if peace:
        with pytest.raises(queue.Empty):
            lost.get(timeout=0.2)
    else:
        assert lost.get(timeout=30) == 0
