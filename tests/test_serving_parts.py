"""What the server stands on: questions answered together, figures as Prometheus reads them, the page of answers."""

from __future__ import annotations

import asyncio
from typing import Any

import browser
import pytest

from scripts import bench_serve
from tl.serving import app
from tl.serving.batching import Batcher, Full
from tl.serving.figures import Figures


def test_figures_as_prometheus_reads_them():
    figures = Figures()
    figures.add("/predict", 200, 0.02)
    figures.add("/predict", 200, 99.0)
    lines = figures.text({1: 2, 4: 1}).splitlines()
    assert 'tl_requests_total{path="/predict",status="200"} 2' in lines
    assert 'tl_request_seconds_bucket{le="0.01"} 0' in lines
    assert 'tl_request_seconds_bucket{le="0.025"} 1' in lines
    assert 'tl_request_seconds_bucket{le="10.0"} 1' in lines
    assert 'tl_request_seconds_bucket{le="+Inf"} 2' in lines
    assert "tl_batches_total 3" in lines
    assert "tl_batched_images_total 6" in lines


def test_items_that_come_together_go_together():
    seen = []

    def run(items):
        seen.append(list(items))
        return [item * 10 for item in items]

    async def go():
        batcher = Batcher(run, most=4, wait=0.05, waiting=10)
        batcher.start()
        found = await asyncio.gather(*(batcher.ask(i) for i in range(10)))
        with pytest.raises(Full):
            await asyncio.gather(*(batcher.ask(i) for i in range(30)))
        await batcher.stop()
        return found, batcher.sizes

    found, sizes = asyncio.run(go())
    assert found == [i * 10 for i in range(10)]
    assert seen[:3] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sizes[4] >= 2


def test_an_error_in_a_batch_reaches_those_who_asked_and_no_others():
    async def go():
        batcher = Batcher(lambda items: [1 / item for item in items], most=1, wait=0, waiting=10)
        batcher.start()
        found = await asyncio.gather(*(batcher.ask(i) for i in (1, 0, 2)), return_exceptions=True)
        await batcher.stop()
        return found

    first, second, third = asyncio.run(go())
    assert (first, third) == (1, 0.5)
    assert isinstance(second, ZeroDivisionError)


def test_only_probabilities_are_shares_on_the_page(tmp_path):
    """A regression's .5 is .5, another task's is 50 %."""
    kinds = {"slant": "regression", "label": "classification", "tags": "multi_label"}
    about = {"model": "m", "tasks": {name: {"kind": kind, "classes": ["a"]} for name, kind in kinds.items()}}
    nobody: Any = None
    page = asyncio.run(app.page("index.html.j2", about=about)(nobody)).body.decode()
    answer = "{slant: {values: {it: 0.5}}, label: {class: 'a', probabilities: {a: 0.25}}, tags: {values: {a: 0.75}}}"
    shown = f"show(new File([], 'one.png'), {{tasks: {answer}}});"
    (tmp_path / "page.html").write_text(page.replace("</script>", f"{shown}</script>"))
    found, console = browser.opened(tmp_path / "page.html")
    assert not console
    assert "0.5000" in found
    assert "50.0 %" not in found
    assert "25.0 %" in found
    assert "75.0 %" in found


def test_a_bench_without_pictures(tmp_path, capsys):
    assert bench_serve.main([str(tmp_path), "--images", str(tmp_path)]) == 2
    assert "is no folder with a file in it: name one with pictures" in capsys.readouterr().err
