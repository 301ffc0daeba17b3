"""One connection from every process to process 0, which the kernel closes when either of them is gone.

The runtime hears of a lost process in an exchange of arrays at once, anywhere else (a checkpoint, a barrier) only after
seconds without a heartbeat, and then it aborts.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable

from jax._src import distributed

KEY = "tl/lifeline"
WAIT = 60.0  # seconds for process 0's address to be known, and for it to answer
PEACE = b"."  # a process that has done its part and waits no longer for the others says this

_connections: list[socket.socket] = []


def listen(port: int) -> socket.socket:
    """A server on every interface, IPv6 too where there is any; port 0 is any free one. Raises OSError."""
    both = socket.has_dualstack_ipv6()
    return socket.create_server(("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)


def hold(lost: Callable[[int], None]) -> None:
    """From now on `lost(process)` is called, in a thread of its own, when a process is gone; all must call this.

    Process 0 hears of every other, the others of process 0, which ends when it has heard of one. Raises OSError where
    process 0 cannot be reached.
    """
    here = distributed.global_state
    assert here.client is not None
    if here.process_id == 0:
        # A token, since whoever else looks in at an open port is no process of this run.
        server, token = listen(0), secrets.token_hex(16)
        host = (here.coordinator_address or "").rpartition(":")[0].strip("[]")
        here.client.key_value_set(KEY, f"{host} {server.getsockname()[1]} {token}")
        _thread(_accept, server, token, here.num_processes, lost)
    else:
        host, port, token = here.client.blocking_key_value_get(KEY, int(1000 * WAIT)).split()
        connection = socket.create_connection((host, int(port)), timeout=WAIT)
        connection.settimeout(None)
        connection.sendall(f"{token}{here.process_id:08d}".encode())
        _connections.append(connection)
        _thread(_watch, connection, 0, lost)


def part() -> None:
    """This process ends before the others and is not lost."""
    for connection in _connections:
        try:
            connection.sendall(PEACE)
        except OSError:
            continue  # the other one is gone


def _accept(server: socket.socket, token: str, processes: int, lost: Callable[[int], None]) -> None:
    with server:
        while len(_connections) < processes - 1:
            connection, _ = server.accept()
            connection.settimeout(WAIT)
            try:
                said = connection.recv(len(token) + 8, socket.MSG_WAITALL).decode(errors="replace")
            except OSError:
                said = ""
            if said[:-8] != token:
                connection.close()
                continue
            connection.settimeout(None)
            _connections.append(connection)
            _thread(_watch, connection, int(said[-8:]), lost)


def _watch(connection: socket.socket, process: int, lost: Callable[[int], None]) -> None:
    with connection:
        try:
            said = connection.recv(1)
        except OSError:
            said = b""
    if said != PEACE:
        lost(process)


def _thread(function: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
