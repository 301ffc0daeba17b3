"""A server under load on this machine: throughput, p50 and p99, and that no answer is lost or another request's.

    python scripts/bench_serve.py FOLDER --requests 500 --together 16 [--images DIR] [--batch 16]

It starts scripts/serve.py, asks about each picture alone, then about all in turn with so many requests together,
compares every answer with the one given alone, and ends the server. Without --images the pictures are random. Flags
of scripts/serve.py go to the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import pathlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tl.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOLERANCE = 1e-4  # between an answer in a batch and alone


def main(argv: Sequence[str] | None = None) -> int:
    """0 where every answer came and was the right one, else 1; 2 where there was nothing to ask, or nobody."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--together", type=int, default=16)
    parser.add_argument("--images", type=pathlib.Path, help="a folder of pictures")
    options, flags = parser.parse_known_args(argv)
    try:
        pictures = read(options.images) if options.images else random_pictures(32)
        with serving(options.folder, *flags) as address:
            found = asyncio.run(load(address, pictures, options.requests, options.together))
    except (InputError, httpx.HTTPStatusError) as error:
        print(f"error: {error.response.text if isinstance(error, httpx.HTTPStatusError) else error}", file=sys.stderr)
        return 2
    times = np.sort(found["seconds"]) * 1e3
    p50, p99 = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]
    print(
        f"{options.requests} requests, {options.together} together: {options.requests / found['wall']:.0f} a second, "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms; {found['lost']} lost, {found['mixed']} mixed up"
    )
    return 1 if found["lost"] or found["mixed"] else 0


@contextlib.contextmanager
def serving(folder: pathlib.Path, *flags: str) -> Iterator[str]:
    """The address of a server of `folder` on a free port; it is ended by SIGTERM, and must end well."""
    port = free_port()
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), str(folder), "--port", str(port), *flags]
    server = subprocess.Popen(command)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            if server.poll() is not None:
                raise InputError(
                    f"the server of '{folder}' ended with {server.returncode} before it answered, see above."
                )
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/health").is_success:
                    break
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        code = server.wait(60)
    if code:
        raise RuntimeError(f"the server ended with {code}")


def free_port() -> int:
    """One of 127.0.0.1 that nobody has for now."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


async def load(address: str, pictures: Sequence[bytes], requests: int, together: int) -> dict[str, Any]:
    """Seconds of each request and of all, and how many had no answer or another picture's."""
    found: dict[str, Any] = {"seconds": [], "lost": 0, "mixed": 0}
    headers = {"Content-Type": "application/octet-stream"}
    async with contextlib.AsyncExitStack() as stack:
        # One client for each of those together: a pool that all share would be slower than the server.
        plain = ssl.create_default_context()  # each client would read its own, for nothing: no request is encrypted
        made = [httpx.AsyncClient(base_url=address, timeout=60, verify=plain) for _ in range(together)]
        clients = [await stack.enter_async_context(client) for client in made]
        alone = [values(await clients[0].post("/predict", content=data, headers=headers)) for data in pictures]
        turns = iter(range(requests))

        async def one(client: httpx.AsyncClient) -> None:
            for turn in turns:
                number, began = turn % len(pictures), time.perf_counter()
                try:
                    answer = values(await client.post("/predict", content=pictures[number], headers=headers))
                except (httpx.HTTPError, KeyError, ValueError):
                    found["lost"] += 1
                    continue
                found["seconds"].append(time.perf_counter() - began)
                found["mixed"] += bool(np.abs(answer - alone[number]).max() > TOLERANCE)

        began = time.perf_counter()
        await asyncio.gather(*map(one, clients))
        found["wall"] = time.perf_counter() - began
    return found


def values(response: httpx.Response) -> np.ndarray:
    """All numbers of an answer to one picture."""
    response.raise_for_status()
    (answer,) = response.json()["answers"]
    numbers = [task.get("probabilities") or task["values"] for task in answer["tasks"].values()]
    return np.array([value for task in numbers for value in task.values()])


def read(folder: pathlib.Path) -> list[bytes]:
    """The files of a folder; InputError where there is none."""
    found = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    if not found:
        raise InputError(f"--images '{folder}' is no folder with a file in it: name one with pictures.")
    return found


def random_pictures(count: int) -> list[bytes]:
    """PNG files of coloured squares, each another."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        squares = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
        buffer = io.BytesIO()
        Image.fromarray(squares).save(buffer, "PNG")
        found.append(buffer.getvalue())
    return found


if __name__ == "__main__":
    sys.exit(main())
