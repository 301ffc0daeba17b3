"""What stands on a run's page, gathered from a run: what moved, where features lie, what it took; and in a browser."""

from __future__ import annotations

import html
import math
import re

import browser
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from numpy.testing import assert_allclose

from tl import build, finish, metrics, moved, optim
from tl.evaluators import embedding
from tl.report import plots, sections, sets
from tl.report.html import write_run, write_set


def changes(groups, before, after, **settings):
    """`moved.layers` of a tree that became another."""
    optimizer = optim.make(before, groups, lambda step: jnp.float32(1))
    return moved.layers(after, moved.copies(before, optimizer), toy.toy_config(**settings), optimizer)


def test_what_moved_by_hand():
    conv = {"kernel": jnp.array([[3.0, 0.0]]), "bias": jnp.array([4.0])}
    stage = {"block2": conv, "block10": conv}
    before = {"backbone": {"stage1": stage, "norm": conv}, "head": {"bias": jnp.zeros(2)}}
    after = {
        "backbone": {
            "stage1": {
                "block2": {"kernel": jnp.array([[3.0, 2.0]]), "bias": jnp.array([4.0 - 1.5])},
                "block10": {"kernel": jnp.array([[3.0, 0.0]]), "bias": jnp.array([5.0])},
            },
            "norm": conv,
        },
        "head": {"bias": jnp.ones(2)},
    }
    found = changes((("backbone/norm", None), (".*", {})), before, after)
    assert [layer.name for layer in found] == [
        "backbone/stage1/block2",
        "backbone/stage1/block10",
        "backbone/norm",
        "head",
    ]
    assert_allclose([layer.change for layer in found], [2.5 / 5, 1 / 5, 0, math.nan])
    assert [layer.frozen for layer in found] == [False, False, True, False]
    figure = sections.moved(found)
    for text in ("0.5", "frozen", "from zeros"):
        assert f">{text}<" in figure


def test_a_kernel_counts_with_what_lies_beside_it():
    """LoRA: kernel + alpha / rank a b, so 2 * [[1, 0], [0, 0]] * 3 beside a kernel of norm 2."""
    leaves = {"kernel": jnp.ones((2, 2)), "lora_a": jnp.array([[1.0], [0.0]]), "lora_b": jnp.zeros((1, 2))}
    before = {"backbone": {"fc": leaves}}
    after = {"backbone": {"fc": {**leaves, "lora_b": jnp.array([[3.0, 0.0]])}}}
    (layer,) = changes(((".*lora.*", {}), (".*", None)), before, after, lora__rank=1)
    assert (layer.change, layer.new, layer.frozen) == (6 / 2, 4, False)
    assert ">3, 4 new<" in sections.moved([layer])


def test_layers_of_a_deep_network_go_by_block():
    tree = {"backbone": {f"stage{i}": {f"block{j}": {f"conv{k}": {"kernel": jnp.ones(2)} for k in range(3)}
                                       for j in range(5)} for i in range(4)}}  # fmt: skip
    found = changes(((".*", {}),), tree, {"backbone": {**tree["backbone"]}})
    assert len(found) == 20
    assert found[6].name == "backbone/stage1/block1"


def test_several_processes_keep_nothing(monkeypatch):
    monkeypatch.setattr(moved.jax, "process_count", lambda: 2)
    assert changes(((".*", {}),), {"head": {"bias": jnp.ones(2)}}, {"head": {"bias": jnp.ones(2)}}) == []


def test_maps_of_features():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    made = embedding.one_domain(rng.normal(size=(40, 6)) + 20 * labels[:, None], labels)
    assert made is not None
    points, domain, kept = made
    assert (points.shape, domain) == ((40, 2), None)
    apart = np.linalg.norm(points[labels == 0].mean(axis=0) - points[labels == 1].mean(axis=0))
    assert apart > 3 * points[labels == 0].std(axis=0).max()
    assert (kept == labels).all()
    for rows in (np.ones((9, 6)), np.ones((40, 1)), np.full((40, 6), np.nan)):
        assert embedding.one_domain(rows, np.zeros(len(rows))) is None
    (by_class,) = sections.feature_maps(points, None, labels, ["a", "b"])
    assert by_class["note"] == ""
    assert [name for _, _, name in by_class["legend"]] == ["a", "b"]
    by_domain, _ = sections.feature_maps(points, labels, labels, ["a", "b"])
    assert [name for _, _, name in by_domain["legend"]] == ["source", "target"]


def test_a_map_of_more_classes_than_marks_leaves_no_image_out():
    """Of 45 classes with images those 40 with most have a mark; the first five have one image each, the others two."""
    labels = np.concatenate([np.arange(45), np.arange(5, 45)])
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    (found,) = sections.feature_maps(points, None, labels, [f"class {i}" for i in range(50)])
    assert [name for _, _, name in found["legend"]] == [f"class {i}" for i in range(5, 45)] + ["all other classes"]
    assert len({(mark, colour) for mark, colour, _ in found["legend"]}) == 41
    assert "80 images in 40 groups, 5 others" in found["figure"]
    assert found["figure"].count("<use") == 85
    assert found["note"].startswith("40 of the 45 classes have a mark of their own")
    assert found["note"].endswith("the other 5 images are pale.")


def test_bars_of_classes_and_the_worst_of_many():
    few = {key: np.array([0.25, 0.5]) for key in ("recall", "precision", "f1")}
    assert "recall cat 0.250, recall dog 0.500, precision cat 0.250" in sections.class_bars(few, ["cat", "dog"])
    many = {key: np.linspace(1, 0, 50) for key in ("recall", "precision", "f1")}
    figure = sections.class_bars(many, [f"c{i}" for i in range(50)])
    assert "The 32 worst classes" in figure
    assert ">c49<" in figure
    assert ">c17<" not in figure
    assert sections.class_bars(few, ["cat", "cat"]) is None


def test_leaders_come_first_and_every_run_has_its_dot():
    cells = {("a", "test/loss"): (0.5, 0, 1), ("b", "test/loss"): (0.2, 0, 1), ("c", "test/f1"): (0.2, 0, 1)}
    assert sets.ranked("test/loss", ["a", "c", "b"], cells) == ["b", "a", "c"]
    places = {("a", "test/mean_rank"): (9.0, 0, 1), ("b", "test/mean_rank"): (3.0, 0, 1)}
    assert sets.ranked("test/mean_rank", ["a", "b"], places) == ["b", "a"]
    assert sets.standing("b", ["test/mean_rank"], ["a", "b"], places)["line"][0]["best"]
    runs = {"a": [{"m": 0.5}, {"m": 0.75}], "b": [{"m": 0.25}, {}]}
    assert "m of each run: a 0.5000 0.7500, b 0.2500" in sets.strips("m", runs)
    assert sets.strips("m", {"a": [{"m": 1.0}]}) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "run"
    return folder, build.run(toy.toy_config(**toy.LENET, groups=(("backbone/stage1", None), (".*", {}))), folder)


def test_the_page_of_a_run(run):
    folder, summary = run
    page = (folder / "report.html").read_text()
    for text in (
        "What moved",
        "features by true class",
        "By class",
        "(Grad-CAM)",
        "(integrated gradients)",
        "Time and memory",
    ):
        assert text in page, text
    (words,) = re.findall(r'aria-label="What moved: ([^"]*)"', page)
    told = dict(item.rsplit(" ", 1) for item in html.unescape(words).split(", "))
    assert float(told["backbone/stage1/conv"]) == 0
    assert float(told["head"]) > 0
    assert summary["memory/process_peak_bytes"] > summary["memory/state_bytes"] > summary["params/optimizer_bytes"]
    assert 0 < summary["time/train_s"] < summary["time/wall_s"]
    assert not any(key.startswith(("time", "memory")) for key in sections.streams(sections.results(summary)))
    assert finish.finished(folder)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("which", ["run", "set"])
def test_a_page_in_a_browser(which, dark, run, tmp_path):
    """Read by keyboard, on a narrow screen, in both schemes, without a word in the console."""
    page = run[0] / "report.html"
    if which == "set":
        rows = [(name, "test/accuracy", 0.9, 0.01, 2) for name in ("a", "b")]
        runs = {f"{name}/{seed}": ("x.html", {"test/accuracy": 0.9, "seed": seed}) for name in "ab" for seed in (0, 1)}
        curves = {name: [[{"step": step, "val/accuracy": 0.1 * step} for step in range(5)]] for name in "ab"}
        variants = {name: [f"{name}/0", f"{name}/1"] for name in "ab"}
        configs = {"a": {"lr": 1}, "b": {"lr": 2}}
        page = write_set(tmp_path, title="set", rows=rows, runs=runs, curves=curves, configs=configs, variants=variants)
    browser.judge(page, dark)


@pytest.mark.parametrize("count", [10, 45])
def test_long_names_of_many_classes_are_read_in_a_browser(count, tmp_path):
    names = [f"class number {i}" for i in range(count)]
    matrix = np.eye(count, dtype=int) + 1
    labels = np.arange(4 * count) % count
    page = write_run(
        tmp_path,
        title="run",
        config={},
        rows=[],
        summary={"test/accuracy": 0.5},
        classes=names,
        points=(np.random.default_rng(0).normal(size=(len(labels), 2)), labels % 2, labels),
        confusion=matrix,
        class_report=metrics.class_report(matrix),
    )
    text = page.read_text()
    (_, legend, *_) = re.findall(r'<ul class="legend" role="list">(.*?)</ul>', text, flags=re.DOTALL)
    assert re.findall(r"</span>(.*?)</li>", legend) == names[:40] + ["all other classes"] * (count > 40)
    assert ("40 of the 45 classes have a mark of their own" in text) == (count > 40)
    assert ('title="class number 9"' in text) == (count <= sections.TABLE_CLASSES)
    browser.judge(page, dark=False)


def test_a_figure_has_the_colours_of_the_page():
    figure = plots.bars({"one": {"a": 1.0}, "two": {"a": 2.0}}, title="t", x="x", marks={"a": "$mark"})
    assert not re.search(r"#0101", figure)
    assert "var(--series-1)" in figure
    assert "var(--series-2)" in figure
    assert "$mark" in figure
