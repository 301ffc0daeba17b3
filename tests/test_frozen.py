"""Frozen maps computed once: the same parameters as with the images, and only where that is exact."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import toy

from tl import begin, build, frozen, kept, train
from tl.data import cache, order
from tl.errors import InputError

# what is frozen -> the map that takes the place of the images; None: the images stay
CASES = {
    "probe": ({"spec": "configs/probe.py"}, "pooled"),
    "flatten": ({"spec": "configs/probe.py", "head__pool": "flatten"}, "stage3"),
    "dropout and average": (
        {"spec": "configs/probe.py", "head__dropout": 0.5, "head__hidden": (6,), "ema": 0.9},
        "pooled",
    ),
    "dropout between layers": (
        {
            "spec": "configs/probe.py",
            "model": "lenet",
            "model_args": {"widths": (4, 6), "hidden": 12},
            "image_size": 16,
            "resize": 16,
        },
        "stage1",
    ),
    "last stage": ({"groups": (("head", {}), ("backbone/stage3", {}), (".*", None))}, "stage2"),
    "only the stem moves": ({"groups": (("backbone/stem", {}), (".*", None))}, None),
    "moving statistics": ({"spec": "configs/probe.py", "frozen_stats": "none"}, None),
    "augmented": ({"spec": "configs/probe.py", "train_transforms": (("flip", {}),)}, None),
    "mixed images": ({"spec": "configs/probe.py", "method_args": {"mixup": 0.4}}, None),
    "less than an epoch": ({"spec": "configs/probe.py", "steps": 2}, None),
    "not wanted": ({"spec": "configs/probe.py", "recompute_frozen": True}, None),
}


def toy_run(name: str, tmp_path, **changes):
    settings = {"train_transforms": (), "steps": 10, "eval_every": 5, "log_every": 5, **CASES[name][0], **changes}
    chosen = toy.toy_config(settings.pop("spec", "configs/finetune.py"), **settings)
    return train.start(build.experiment(chosen), tmp_path, quiet=True)


@pytest.mark.parametrize("name", CASES)
def test_the_deepest_frozen_map_takes_the_place_of_images(name, tmp_path):
    with toy_run(name, tmp_path) as work:
        batch = work.feeds.streams["train"][0]
        inputs = {field for field in batch if field == "image" or field.startswith("map/")}
        assert inputs == {f"map/{CASES[name][1]}" if CASES[name][1] else "image"}
        assert np.array_equal(batch["index"], work.experiment.streams["train"][0]["index"])
        assert np.array_equal(batch["label"], work.experiment.streams["train"][0]["label"])


@pytest.mark.parametrize(
    "name",
    ["probe", "flatten", "dropout between layers", "last stage", *(["dropout and average"] if toy.ALL else [])],
)
def test_the_same_parameters_as_without(name, tmp_path):
    """Ten steps in float64, on eight devices."""
    ends = []
    with jax.enable_x64(True):
        for recompute in (False, True):
            folder = tmp_path / str(recompute)
            with toy_run(name, folder, dtype="float64", recompute_frozen=recompute) as work:
                train.run(work)
                ends.append((jax.device_get(work.state), work.evaluate(["val", "test"])[0]))
    toy.same_leaves(ends[0][0], ends[1][0], 1e-9)
    assert ends[0][1] == pytest.approx(ends[1][1], abs=1e-9)


def test_maps_too_large_for_memory_lie_on_disk_and_serve_the_next_run(tmp_path, monkeypatch):
    """The same parameters, bit for bit; the second run from disk computes no map, one on other weights does."""
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    ends = []
    for folder in ("memory", "disk", "again"):
        if folder != "memory":
            monkeypatch.setattr(frozen, "MOST_BYTES", 100)
        if folder == "again":
            monkeypatch.setattr(frozen, "collect", lambda *_: pytest.fail("computed again"))
        with toy_run("last stage", tmp_path / folder) as work:
            rows = work.feeds.streams["train"][0]
            assert any(field.startswith("map/") for field in rows)
            train.run(work)
            ends.append(jax.device_get(work.state))
    toy.same_leaves(ends[0], ends[1])
    toy.same_leaves(ends[1], ends[2])
    (folder,) = (tmp_path / "cache" / "features").iterdir()  # of one source
    assert len(list(folder.glob("*/map.json"))) == 2  # first of train, then of val
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        toy_run("last stage", tmp_path / "other weights", seed=1)


def test_maps_too_large_for_the_disk_leave_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "MOST_BYTES", 100)
    monkeypatch.setattr(frozen, "MOST_STORED_BYTES", 100)
    with toy_run("probe", tmp_path) as work:
        assert "image" in work.feeds.streams["train"][0]


def test_maps_are_kept_where_that_is_wanted_and_a_half_written_table_counts_as_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    with toy_run("probe", tmp_path / "a"):
        pass
    assert not (tmp_path / "cache" / "features").exists()
    store, calls = cache.store, []

    def cut_off(folder, names, parts):
        calls.append(folder)
        first = lambda numbers: iter([next(iter(parts(numbers)))])  # noqa: E731
        store(folder, names, first)

    monkeypatch.setattr(cache, "store", cut_off)
    with pytest.raises(AssertionError, match="rows of"):
        toy_run("probe", tmp_path / "b", keep_features=True)
    assert [path.name for path in sorted(calls[0].glob("0*"))] == ["0000", "0001.partial"]  # train fits a batch
    monkeypatch.setattr(cache, "store", store)
    with toy_run("probe", tmp_path / "b", keep_features=True) as work:
        assert len(work.feeds.rows["train"]["index"]) == len(work.experiment.dataset.splits["train"])
    assert [path.name for path in sorted(calls[0].glob("0*"))] == ["0000", "0001"]


def test_another_cut_of_a_source_finds_what_is_kept(tmp_path, monkeypatch):
    """Other folds of the same images: only what no run has seen is computed, and every row has its own map."""
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    shared = {"train_transforms": (), "steps": 200, "labels_per_class": 0, "keep_features": True}
    ends, computed, collect = {}, [], frozen.collect

    def counted(predict, batches):
        found = collect(predict, batches)
        computed.append(len(found["index"]))
        return found

    monkeypatch.setattr(frozen, "collect", counted)
    for number, keep in ((0, True), (1, True), (1, False)):
        changes = {**shared, "outer": (number, 4), "keep_features": keep}
        if not keep:
            monkeypatch.setenv("TL_CACHE", str(tmp_path / "another"))
        with toy_run("probe", tmp_path / f"{number}{keep}", **changes) as work:
            size = len({name for split in work.experiment.dataset.splits.values() for name in split.names})
            ends[number, keep] = {field: np.asarray(values) for field, values in work.feeds.rows["train"].items()}
            ends[number, keep]["computed"], computed = sum(computed), []
    assert 0 < ends[1, True].pop("computed") < size / 3
    assert ends[1, False].pop("computed") > size / 2
    for field, values in ends[1, False].items():
        np.testing.assert_allclose(ends[1, True][field], values, rtol=1e-6, atol=1e-6)


def test_strong_and_weak_views_of_one_image_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    settings = {**toy.ADAPT, **toy.VIEWS, "model": "resnet20_cifar", "model_args": {"width": 4, "blocks": (1, 1, 1)}}
    settings |= {"spec": "configs/adamatch.py", "groups": (("backbone", None), (".*", {}))}
    settings |= {"train_transforms": (("shift", {}),), "cached_views": 1, "keep_features": True, "steps": 300}
    with toy_run("probe", tmp_path / "a", **settings) as work:
        batch = {name: stream[0] for name, stream in work.feeds.streams.items()}
        for name in ("train", "target"):
            assert np.array_equal(batch[name]["index"], batch[f"{name}_strong"]["index"])
            assert not np.array_equal(batch[name]["map/pooled"], batch[f"{name}_strong"]["map/pooled"])


def test_views_are_drawn_once_and_take_turns(tmp_path):
    """Two random views: epochs 0 and 2 show the same maps, 0 and 1 others of the same images."""
    changes = {"train_transforms": (("shift", {"fraction": 0.4}),), "steps": 20}
    with toy_run("probe", tmp_path / "w", cached_views=2, **changes) as work:
        size = len(work.experiment.dataset.splits["train"])
        steps = [work.feeds.streams["train"][i] for i in range(-(-3 * size // 16))]
        index = np.concatenate([rows["index"] for rows in steps])[: 3 * size].reshape(3, size)
        maps = np.concatenate([rows["map/pooled"] for rows in steps])[: 3 * size].reshape(3, size, -1)
        first, second, third = (m[np.argsort(i)] for m, i in zip(maps, index, strict=True))
        assert sorted(index[1]) == list(range(size))
        assert np.array_equal(first, third)
        assert not np.isclose(first, second).all(axis=1).any()
        places = order.endless(size, 0, "train", views=2)
        assert places.rows(size - 3, size + 5).tolist() == [places[i] for i in range(size - 3, size + 5)]
        train.run(work)
        assert int(work.state.step) == 20
    with pytest.raises(InputError, match="train_transforms is empty"):
        build.experiment(toy.toy_config("configs/probe.py", train_transforms=(), cached_views=2))


def test_cached_batches_are_padded_and_in_order():
    rows = {"index": np.arange(10, dtype=np.int32), "map/x": np.arange(20.0).reshape(10, 2)}
    mesh = train.meshes.make_mesh()
    batches = [jax.device_get(batch) for batch in cache.cached_batches(rows, 8, mesh)]
    assert [int(batch["mask"].sum()) for batch in batches] == [8, 2]
    assert np.concatenate([batch["map/x"][batch["mask"]] for batch in batches]).tolist() == rows["map/x"].tolist()
    stream: Any = cache.cached_stream(rows, batch_size=4, seed=3, name="train")
    places = order.order(10, 3, "train")
    assert stream[2]["index"].tolist() == [places[i] for i in range(8, 12)]


def test_heads_train_in_bursts_that_end_where_something_is_due(tmp_path):
    """Calls of 3, 1, 2, 3, ... steps are one program, and every step is logged."""
    with toy_run("probe", tmp_path, eval_every=4, save_every=3, log_every=1, steps=11) as work:
        assert work.feeds.rows
        train.run(work)
        rows = [row["step"] for row in work.log.rows() if "train/loss" in row]
        assert rows == list(range(1, 12))
        assert [row["step"] for row in work.log.rows() if "val/loss" in row] == [4, 8, 11]


def test_images_that_fit_on_an_accelerator_lie_there(tmp_path, monkeypatch):
    """Ten steps in float64 that cut their batches out of all images give the same parameters."""
    ends = []
    with jax.enable_x64(True):
        for resident in (False, True):
            monkeypatch.setattr(frozen, "on_accelerator", lambda resident=resident: resident)
            with toy_run("not wanted", tmp_path / str(resident), dtype="float64") as work:
                assert bool(work.feeds.rows) == resident
                train.run(work)
                ends.append(jax.device_get(work.state))
    toy.same_leaves(ends[0], ends[1], 1e-9)


def test_rows_of_the_endless_order():
    places = order.endless(5, 1, "train")
    assert places.rows(3, 13).tolist() == [places[i] for i in range(3, 13)]
    assert order.endless(5, 1, shuffle=False).rows(3, 7).tolist() == [3, 4, 0, 1]


def test_the_images_of_one_source_serve_every_target():
    """Kept maps belong to the images they are of, whatever lies beside them in a run."""

    def folder(source: str, target: str):
        settings = {**toy.ADAPT, "data": source, "target": target, "groups": (("backbone", None), (".*", {}))}
        experiment = build.experiment(toy.toy_config("configs/source_only.py", **settings, train_transforms=()))
        state, _ = begin.init(experiment)
        split = experiment.passes["train"].split
        assert split is not None
        return kept.Keys(experiment, state, "pooled").place(split, "train")[0]

    one = folder("glyphs:digits-sans", "glyphs:digits-serif")
    assert folder("glyphs:digits-sans", "glyphs:digits-mono") == one
    assert folder("glyphs:digits-mono", "glyphs:digits-serif") != one
