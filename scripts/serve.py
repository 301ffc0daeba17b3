"""Serves an exported folder over HTTP: POST /predict, GET /health, /metrics and /docs, and a page to try it at /.

    python scripts/serve.py FOLDER --port 8000

Requests that come together are answered by one call of the network. SIGTERM ends it when what was begun is answered.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import signal
import sys
from collections.abc import Sequence

from tl.errors import InputError


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
    parser.add_argument("--seconds", type=float, default=30.0, help="for a request to arrive, and to be answered")
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
        import uvicorn

        from tl.serving import app
    except ImportError as error:
        raise InputError(f"the server needs the package {error.name}: pip install -e '.[serve]'.") from error
    from tl.runtime import prepare
    from tl.serving.network import Network

    prepare()
    network = Network(options.folder, options.batch, options.pixels)
    network.warm()
    times = {"seconds": options.seconds, "wait": options.wait}
    limits = app.Limits(options.body, options.images, **times, waiting=max(256, options.images))
    # Uvicorn ends well at SIGTERM, and then raises it again: the process shall end with 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(
        app.make(network, limits),
        host=options.host,
        port=options.port,
        log_level="warning",
        server_header=False,
        limit_concurrency=max(1000, 4 * options.batch),
        timeout_graceful_shutdown=math.ceil(2 * options.seconds),
    )


if __name__ == "__main__":
    sys.exit(main())
