"""Batches: a function of (seed, step), the same for any number of hosts and threads, exact after a resume."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tl import mesh as meshes
from tl.data import streams
from tl.data.base import Split, from_array
from tl.data.images import decode
from tl.data.transforms import compose
from tl.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
SPLIT = from_array(IMAGES, np.arange(50, dtype=np.int32) % 3, "x")
AUGMENT = compose([("flip", {}), ("shift", {"fraction": 0.3})])
PLAIN = compose([])


def stream(transform=AUGMENT, **options: Any) -> Any:
    options = {"batch_size": 16, "seed": 1} | options
    return streams.train_stream(SPLIT, transform, **options)


def equal(first, second) -> bool:
    assert first.keys() == second.keys()
    return all(np.array_equal(np.asarray(first[k]), np.asarray(second[k])) for k in first)


def test_rows_hold_what_the_split_holds():
    batch = stream(PLAIN)[3]
    assert {k: (v.dtype, v.shape) for k, v in batch.items()} == {
        "image": (np.uint8, (16, 8, 8, 3)),
        "label": (np.int32, (16,)),
        "index": (np.int32, (16,)),
    }
    for image, label, index in zip(batch["image"], batch["label"], batch["index"], strict=True):
        assert np.array_equal(image, SPLIT.load(index))
        assert label == index % 3


def test_a_batch_is_a_function_of_seed_and_step():
    assert equal(stream()[7], stream()[7])
    assert not equal(stream()[7], stream()[8])
    assert not equal(stream()[7], stream(seed=2)[7])
    assert not equal(stream()[7], stream(name="target")[7])


def test_epochs_are_whole_and_shuffled_anew():
    order = np.concatenate([stream(PLAIN)[step]["index"] for step in range(25)])  # 400 rows = 8 epochs
    epochs = order.reshape(8, 50)
    assert (np.sort(epochs, axis=1) == np.arange(50)).all()
    assert len({tuple(e) for e in epochs}) == 8
    assert stream(PLAIN, shuffle=False)[3]["index"].tolist() == [48, 49, *range(14)]


def test_augmentation_differs_between_epochs():
    seen = {}
    for step in range(25):
        batch = stream()[step]
        for image, index in zip(batch["image"], batch["index"], strict=True):
            seen.setdefault(int(index), set()).add(image.tobytes())
    assert min(map(len, seen.values())) > 3


@pytest.mark.parametrize("hosts", [2, 4, 16])
def test_hosts_make_the_same_global_batch(hosts):
    for step in (0, 3, 40):
        parts = [stream(process_index=p, process_count=hosts)[step] for p in range(hosts)]
        whole = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        assert equal(whole, stream()[step])


def test_batch_larger_than_the_split():
    batch = stream(batch_size=120)[0]
    assert np.bincount(batch["index"]).tolist().count(2) >= 30
    assert len(batch["image"]) == 120


@pytest.mark.parametrize("threads", [0, 3])
def test_resume_is_exact(threads):
    mesh = meshes.make_mesh()
    both = {"source": stream(name="source"), "target": stream(name="target", batch_size=8)}
    whole = list(itertools.islice(streams.batches(both, mesh, threads=threads), 9))
    resumed = streams.batches(both, mesh, 6, threads=threads)
    for step in (6, 7, 8):
        batch = next(resumed)
        for name, source in both.items():
            assert equal(batch[name], whole[step][name])
            assert equal(batch[name], source[step])
            assert batch[name]["image"].sharding == meshes.batch_sharding(mesh)
    resumed.close()


def test_a_stream_can_be_replicated():
    mesh = meshes.make_mesh()
    shardings = {"episode": meshes.replicated(mesh)}
    one = stream(batch_size=5, process_count=1)
    batch = next(streams.batches({"episode": one}, mesh, shardings=shardings, threads=0))
    assert batch["episode"]["image"].sharding.is_fully_replicated


def test_evaluation_covers_every_image_once_and_masks_the_rest():
    mesh = meshes.make_mesh()
    batches = streams.eval_batches(SPLIT, PLAIN, 16, mesh)
    assert batches.size == 50
    assert len(batches) == 4
    for _ in range(2):  # the second pass comes from memory
        rows = [{k: np.asarray(v) for k, v in batch.items()} for batch in batches]
        assert all(len(v) == 16 for row in rows for v in row.values())
        whole = {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}
        assert whole["mask"].tolist() == [True] * 50 + [False] * 14
        assert whole["index"][:50].tolist() == list(range(50))
        assert np.array_equal(whole["image"][:50, :, :, 0], IMAGES)
        assert (whole["label"][:50] == np.arange(50) % 3).all()
        assert not whole["image"][50:].any()


@pytest.mark.parametrize("hosts", [2, 8])
def test_evaluation_hosts_cover_the_same_batches(hosts):
    mesh = meshes.make_mesh()
    whole = list(streams.eval_batches(SPLIT, AUGMENT, 48, mesh, put=lambda b: b))
    parts = [
        list(
            streams.eval_batches(
                SPLIT, AUGMENT, 48, mesh, put=lambda b: b, process_index=p, process_count=hosts, threads=2
            )
        )
        for p in range(hosts)
    ]
    assert {len(part) for part in parts} == {len(whole)} == {2}
    for step, batch in enumerate(whole):
        assert equal({k: np.concatenate([part[step][k] for part in parts]) for k in batch}, batch)


def test_evaluation_decodes_once_if_it_fits(monkeypatch):
    loads = []

    def load(i: int) -> np.ndarray:
        loads.append(i)
        return SPLIT.load(i)

    counted = Split(load, SPLIT.labels, SPLIT.names)
    mesh = meshes.make_mesh()
    batches = streams.eval_batches(counted, PLAIN, 16, mesh)
    next(iter(batches))  # a pass that is broken off keeps nothing
    for _ in range(3):
        list(batches)
    assert len(loads) <= 50 + 50
    monkeypatch.setattr(streams, "KEEP_BYTES", 1000)
    loads.clear()
    batches = streams.eval_batches(counted, PLAIN, 16, mesh)
    for _ in range(2):
        list(batches)
    assert len(loads) == 100


@pytest.mark.parametrize("threads", [0, 2])
def test_errors_reach_the_user_as_they_are(threads):
    mesh = meshes.make_mesh()
    broken = Split(lambda i: decode(b"", f"{i}.jpg"), SPLIT.labels, SPLIT.names)
    train = streams.train_stream(broken, PLAIN, batch_size=8, seed=0)
    with pytest.raises(InputError, match=r"\.jpg' is broken"):
        next(streams.batches({"x": train}, mesh, threads=threads))
    with pytest.raises(InputError, match=r"\.jpg' is broken"):
        list(streams.eval_batches(broken, PLAIN, 8, mesh, threads=threads))
    ragged = Split(lambda i: np.zeros((4 + i % 2, 4, 3), np.uint8), SPLIT.labels, SPLIT.names)
    with pytest.raises(InputError, match="images of different sizes"):
        list(streams.eval_batches(ragged, PLAIN, 8, mesh, threads=threads))


def test_batch_size_must_divide_among_hosts():
    with pytest.raises(InputError, match="batch_size=16 is not divided by the 3 hosts"):
        stream(process_index=0, process_count=3)


def test_threads_where_they_help():
    assert streams.threads_for(SPLIT) == 1
    assert streams.threads_for(SPLIT, Split(SPLIT.load, SPLIT.labels, SPLIT.names)) > 1


def test_a_finite_stream_gives_its_last_batch():
    finite = stream()[:3]
    steps = list(streams.batches({"train": finite}, meshes.make_mesh(), 1, threads=0))
    assert [np.array_equal(np.asarray(b["train"]["image"]), stream()[i]["image"]) for i, b in enumerate(steps, 1)] == [
        True,
        True,
    ]
