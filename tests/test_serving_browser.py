"""A visit to a running server: Debian's chromium loads its pages, is given files, and what it then shows is read."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from typing import Any

import browser
import httpx
import pytest
from test_serving import encoded, exported, pictures

from scripts import bench_serve

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run")
SPOKEN = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Left(Exception):
    """The page was left before it had answered."""


class Tab:
    """One of a chromium whose DevTools are spoken to over two pipes; `console`: all that was said there."""

    def __init__(self, tell, hear):
        self.tell, self.hear, self.rest = tell, hear, b""
        self.numbers, self.session, self.console = itertools.count(), {}, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.session = {"sessionId": found}
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """What a command gives back; events before it are noted."""
        number = next(self.numbers)
        os.write(
            self.tell, json.dumps({"id": number, "method": method, "params": params, **self.session}).encode() + b"\0"
        )
        while True:
            message = self.next()
            if message.get("method") in SPOKEN:
                self.console.append(message["params"])
            if message.get("id") == number:
                if "navigated" in message.get("error", {}).get("message", ""):
                    raise Left(method)
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def next(self):
        while b"\0" not in self.rest:
            assert select.select([self.hear], [], [], 60)[0], "chromium has said nothing for a minute"
            found = os.read(self.hear, 1 << 20)
            assert found, "chromium has ended"
            self.rest += found
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def value(self, expression) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression, seconds=30):
        def so():
            with contextlib.suppress(Left):  # the page that comes will answer
                return self.value(expression)

        end = time.monotonic() + seconds
        while not so():
            assert time.monotonic() < end, (
                f"{expression} is not so; the page says {self.value('document.body.innerText')}"
            )
            time.sleep(0.05)

    def visit(self, address):
        self.call("Page.navigate", url=address)
        self.until(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def choose(self, paths):
        """As a person does who presses on the page's field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=field, files=[str(path) for path in paths])

    def drop(self, paths):
        """As a person does who brings files from elsewhere over the page's field."""
        x, y = self.value("(({x, y, width, height}) => [x + width / 2, y + height / 2])(drop.getBoundingClientRect())")
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)


@contextlib.contextmanager
def tab(profile):
    """A skip without chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: the server was not visited by a browser")
    (theirs, tell), (hear, ours) = os.pipe(), os.pipe()
    # Chromium reads commands from 3 and writes to 4; bash puts them there.
    command = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{ours}', "bash", program, *FLAGS, f"--user-data-dir={profile}"]
    with (profile.parent / "chromium.log").open("wb") as log:
        running = subprocess.Popen(command, pass_fds=(theirs, ours), stdout=log, stderr=log)
    os.close(theirs)
    os.close(ours)
    try:
        found = Tab(tell, hear)
        yield found
        found.session = {}
        found.call("Browser.close")
        running.wait(30)
    finally:
        running.kill()
        running.wait()
        os.close(tell)
        os.close(hear)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with bench_serve.serving(exported(tmp_path_factory.mktemp("serving")), "--batch", "2") as found:
        yield found


@pytest.fixture
def page(address, tmp_path):
    with tab(tmp_path / "profile") as found:
        found.visit(f"{address}/")
        yield found


@pytest.fixture
def files(tmp_path):
    """Two pictures, and something between them that is none."""
    one, two = (encoded(image) for image in pictures(2))
    found = {"one.png": one, "none.png": b"no picture", "two.png": two}
    for name, data in found.items():
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in found]


CLASSES = [str(number) for number in range(10)]
LOADED = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"


def answers(page, count):
    """{file: (class, {class: share}, captions)}, once there are `count` and their pictures have come."""
    page.until(f"document.querySelectorAll('.answer').length === {count} && said.textContent === ''")
    page.until(LOADED)
    rows = page.value("""
      const all = (inside, query) => [...inside.querySelectorAll(query)], text = element => element.textContent;
      all(document, '.answer').map(answer => ({
        heading: text(answer.querySelector('h3')),
        shares: all(answer, '.bar').map(bar => all(bar, 'span').map(text)),
        captions: all(answer, 'figcaption').map(text)}))""")
    return {row["captions"][0]: (row["heading"], dict(row["shares"]), row["captions"][1:]) for row in rows}


def test_chosen_pictures_are_answered(page, address, files):
    """Class, shares and Grad-CAM as /predict gives them, and not a word in the console."""
    chosen = [files[0], files[2]]
    page.choose(chosen)
    found = answers(page, 2)
    assert list(found) == ["two.png", "one.png"], "the last is the first"
    for path in chosen:
        (wanted,) = httpx.post(f"{address}/predict", files={"f": path.read_bytes()}).json()["answers"]
        label = wanted["tasks"]["label"]
        heading, shares, captions = found[path.name]
        assert heading == f"label: {label['class']}"
        assert shares.keys() < set(CLASSES)
        assert len(shares) == 8
        for name, share in shares.items():
            assert float(share.removesuffix(" %")) == pytest.approx(100 * label["probabilities"][name], abs=0.06)
        assert captions == ["where the answer is from (Grad-CAM)"]
    assert page.value("document.images.length") == 4
    assert not page.console


def test_a_dropped_file_that_is_no_picture_stops_no_other(page, files):
    page.drop(files)
    assert list(answers(page, 2)) == ["two.png", "one.png"]
    told = page.value("[...document.querySelectorAll('[role=alert]')].map(message => message.textContent)")
    (message,) = told
    assert message.startswith("none.png: 'image' is no picture that can be read")
    assert [row["entry"]["text"] for row in page.console] == [
        "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    ]


def test_one_message_for_each_file_when_nobody_answers(page, files):
    page.value("fetch = () => Promise.reject(new Error('gone'))")
    page.drop(files)
    page.until("document.querySelectorAll('[role=alert]').length === 3 && said.textContent === ''")
    assert "two.png: the server does not answer: Error: gone" in page.value("document.body.innerText")


def test_the_page_that_says_how_to_ask(page, address):
    page.visit(f"{address}/docs")
    assert "POST /predict" in page.value("document.body.innerText")
    page.value("document.querySelector('summary').click()")
    page.value("document.querySelector('header a[href=\"/\"]').click()")
    page.until("location.pathname === '/' && document.readyState === 'complete'")
    assert not page.console


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_are_for_everybody(address, tmp_path, path, dark):
    (tmp_path / "page.html").write_text(httpx.get(address + path).text)
    browser.judge(tmp_path / "page.html", dark)
