"""Serves an exported folder over HTTP: POST /predict, GET /health, /metrics and /docs, and a page to try it at /.

    python scripts/serve.py FOLDER --port 8000

Requests that come together are answered by one call of the network. SIGTERM ends it when what was begun is answered.
Its port is taken before the network is compiled, and listened on after that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import math
import pathlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tl.errors import InputError

if TYPE_CHECKING:
    import uvicorn

BACKLOG = 2048  # connections that are not accepted yet, as uvicorn has it


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="what scripts/export.py has made")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from other machines")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=16, help="pictures in one call of the network, at most")
    parser.add_argument("--wait", type=float, default=0.005, help="seconds that the first of them waits for others")
    parser.add_argument("--body", type=int, default=20 * 2**20, help="bytes of a request, at most")
    parser.add_argument("--images", type=int, default=32, help="pictures in a request, at most")
    parser.add_argument("--pixels", type=int, default=50_000_000, help="of a picture, at most")
    parser.add_argument("--seconds", type=float, default=30.0, help="for a request's head, its body, its answer: each")
    options = parser.parse_args(argv)
    try:
        serve(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve(options: argparse.Namespace) -> None:
    """Until a signal ends it."""
    for name in ("port", "batch", "images", "body", "pixels"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name}={getattr(options, name)} is too small: it must be at least 1.")
    if options.port > 65535:
        raise InputError(f"--port={options.port} is too large: ports end at 65535.")
    if not (0 < options.seconds < math.inf and 0 <= options.wait < math.inf):
        raise InputError(f"--seconds={options.seconds:g} must be above 0 and --wait={options.wait:g} not below.")
    try:
        import uvicorn  # noqa: F401

        from tl.serving import app
    except ImportError as error:
        raise InputError(f"the server needs the package {error.name}: pip install -e '.[serve]'.") from error
    from tl.runtime import prepare
    from tl.serving.network import Network

    prepare()
    with socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET) as door:
        # Or the port would stay taken for a minute after a server has ended.
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with had(options.host, options.port):
            door.bind((options.host, options.port))
        network = Network(options.folder, options.batch, options.pixels)
        network.warm()
        limits = app.Limits(
            options.body,
            options.images,
            options.seconds,
            options.wait,
            waiting=max(256, options.images),
            together=max(1000, 4 * options.batch),
        )
        # Not before: who comes early is told that nobody is there yet, and does not wait.
        with had(options.host, options.port):
            door.listen(BACKLOG)
        # Uvicorn ends well at these, and then raises them again: the process shall end with 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        server(app.make(network, limits), options.seconds).run(sockets=[door])


@contextlib.contextmanager
def had(host: str, port: int) -> Iterator[None]:
    """InputError where an address or its port is not to be had."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} of {host} is taken: end what listens there, or name another by --port."
            ) from error
        raise InputError(
            f"--host={host} --port={port} is not to be had ({error.strerror}): name an address of this machine, and a "
            "port from 1024 on."
        ) from error


def server(application: Callable, seconds: float) -> uvicorn.Server:
    """Uvicorn's, of an ASGI application; a request's head may take `seconds`, as its body and its answer may."""
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=protocol(seconds),
            log_level="warning",
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=math.ceil(2 * seconds),
        )
    )


def protocol(seconds: float) -> type[asyncio.Protocol]:
    """Uvicorn's HTTP, which closes a connection that owes something for longer than `seconds`.

    That is a whole head of a request, or the rest of a body that was answered before it was all there. Uvicorn's own
    clock is for connections without a word between two requests.
    """
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Timed(H11Protocol):
        clock: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.stop()

        def watch(self) -> None:
            theirs = self.conn.their_state
            if theirs is h11.IDLE or (theirs is h11.SEND_BODY and self.conn.our_state is h11.DONE):
                self.clock = self.clock or self.loop.call_later(seconds, self.timeout_keep_alive_handler)
            else:
                self.stop()

        def stop(self) -> None:
            if self.clock:
                self.clock.cancel()
                self.clock = None

    return Timed


if __name__ == "__main__":
    sys.exit(main())
