"""The ASGI application: pictures in, classes out, and pages to look at."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import AsyncIterator, Container
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tl.errors import InputError
from tl.report.html import TEMPLATES
from tl.serving import openapi
from tl.serving.batching import Batcher, Full
from tl.serving.figures import Figures
from tl.serving.network import Network, Question

READERS = 2
PAGES = pathlib.Path(__file__).parent / "pages"
# The pages load nothing from anywhere, and nothing else may bring them to.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """`body`: bytes of a request; `images`: pictures in it; `seconds`: for it to arrive, and again to be answered.

    `wait`: seconds that the first of a batch waits for others; `waiting`: pictures that may wait for the network.
    `together`: requests that may be under way; what /predict is asked beyond them is refused.
    """

    body: int = 20 * 2**20
    images: int = 32
    seconds: float = 30.0
    wait: float = 0.005
    waiting: int = 256
    together: int = 1000


def make(network: Network, limits: Limits) -> Starlette:
    """The application; the network is warm when it begins to answer."""
    batcher, figures = Batcher(network.answer, network.most, limits.wait, limits.waiting), Figures()
    # A large picture takes a gigabyte while it is read: not all that come are read at once.
    reading = asyncio.Semaphore(READERS)
    document = openapi.described(network.model.about["tasks"], network.model.about["jax"])

    async def predict(request: Request) -> Response:
        if figures.busy > limits.together:  # with this one
            raise later()
        explain = asked(request)
        named = await arrived(request, limits)
        figures.images += len(named)
        try:
            async with asyncio.timeout(limits.seconds):
                images = []
                for name, data in named:
                    async with reading:
                        images.append(await asyncio.to_thread(network.read, data, name))
                answers = await asyncio.gather(*(batcher.ask(Question(image, explain)) for image in images))
        except (Full, TimeoutError):
            raise later() from None
        rows = [{"name": name, **answer} for (name, _), answer in zip(named, answers, strict=True)]
        return JSONResponse({"answers": rows})

    async def health(request: Request) -> Response:
        about = {key: network.model.about[key] for key in ("model", "method", "tasks")}
        return JSONResponse({"status": "ok", **about})

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(figures.text(batcher.sizes), media_type="text/plain; version=0.0.4")

    async def described(request: Request) -> Response:
        return JSONResponse(document)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.stop()

    return Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/openapi.json", described),
            Route("/docs", page("docs.html.j2", document=document)),
            Route("/", page("index.html.j2", about=network.model.about)),
        ],
        middleware=[Middleware(Guard, figures=figures, most=limits.body, paths=document["paths"])],
        exception_handlers={HTTPException: refused, InputError: unreadable, Exception: broken},
        lifespan=lifespan,
    )


def page(name: str, **values: Any) -> Any:
    """A handler that gives the page, made once."""
    loader = jinja2.FileSystemLoader([PAGES, TEMPLATES])
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.get_template(name).render(**values)

    async def handler(request: Request) -> Response:
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

    return handler


def asked(request: Request) -> bool:
    """Whether the Grad-CAM is wanted."""
    value = request.query_params.get("explain", "false").lower()
    if value not in ("true", "1", "false", "0"):
        raise HTTPException(400, f"explain='{value[:40]}' is neither true nor false.")
    return value in ("true", "1")


async def arrived(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    """What `pictures` gives, if it is there in time."""
    try:
        async with asyncio.timeout(limits.seconds):
            return await pictures(request, limits)
    except TimeoutError:
        raise HTTPException(408, f"the body took longer than {limits.seconds:g} s to arrive: send it faster.") from None
    except ClientDisconnect:  # nobody reads this answer, but it is counted as what it is
        raise HTTPException(400, "the connection ended before the body did.") from None


async def pictures(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    """[(name, encoded picture)] of a body of any of the kinds that are taken."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with form_of(request, limits) as form:
            items = form.multi_items()
            if any(isinstance(item, str) for _, item in items):
                raise HTTPException(400, "a part of the form is no file: send pictures with file names.")
            files = [(file.filename or name, file) for name, file in items if not isinstance(file, str)]
            # Some charsets leave half characters in a name, which no answer can hold.
            found = [(name.encode(errors="replace").decode(), await file.read()) for name, file in files]
    elif kind == "application/json":
        found = from_json(await request.body())
    elif kind.startswith("image/") or kind == "application/octet-stream":
        found = [("image", await request.body())]
    else:
        raise HTTPException(
            415,
            f"the content type '{kind[:80]}' is not taken: send a picture, multipart/form-data or application/json.",
        )
    if not found:
        raise HTTPException(400, "there is no picture in the request.")
    if len(found) > limits.images:
        raise HTTPException(413, f"{len(found)} pictures are more than the {limits.images} that a request may hold.")
    return found


@contextlib.asynccontextmanager
async def form_of(request: Request, limits: Limits) -> AsyncIterator[FormData]:
    try:
        form = await request.form(max_files=limits.images, max_fields=limits.images)
    except HTTPException as error:  # the parser's own, always 400
        if "Too many files" in str(error.detail):
            raise HTTPException(413, f"a request may hold {limits.images} pictures, no more.") from error
        raise
    except UnicodeError as error:  # of a charset that the request names
        raise HTTPException(400, "the names in the form cannot be read: send them in utf-8.") from error
    try:
        yield form
    finally:
        await form.close()


def from_json(body: bytes) -> list[tuple[str, bytes]]:
    """The pictures of {"images": [base64, ...]}."""
    try:
        rows = json.loads(body)["images"]
        return [(f"image {i}", base64.b64decode(row, validate=True)) for i, row in enumerate(rows)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HTTPException(400, 'the body is not {"images": [base64, ...]} as JSON.') from error


class Guard:
    """Counts requests and their bytes, and refuses a body that is too large before it is all there."""

    def __init__(self, app: ASGIApp, figures: Figures, most: int, paths: Container[str]) -> None:
        self.app, self.figures, self.most, self.paths = app, figures, most, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, status, size = time.perf_counter(), 500, 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most:
                raise HTTPException(413, f"the body has more than {self.most} bytes, the most that is taken.")
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self.figures.busy += 1
        try:
            await self.app(scope, counted, noted)
        finally:
            self.figures.busy -= 1
            # Only paths that there are, or anyone could make up any number of them.
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.figures.add(path, status, time.perf_counter() - began)
        return None


def later() -> HTTPException:
    return HTTPException(503, "too many are waiting: come again.", headers={"Retry-After": "1"})


async def refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def unreadable(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def broken(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server has failed at this; its log says how."}, 500)
