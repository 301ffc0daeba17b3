"""Several domains as one data set: what is joined, what stays without labels, and what is refused."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import toy
from PIL import Image

from tl import build, inputs
from tl.data import domains, order
from tl.data.base import Split
from tl.errors import InputError


def counts(dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def folder(root: pathlib.Path, name: str, classes: tuple[str, ...] = ("a", "b"), images: int = 10) -> str:
    rng = np.random.default_rng(len(name))
    for label in classes:
        (root / name / label).mkdir(parents=True)
        for i in range(images):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(root / name / label / f"{i}.png")
    return f"folder:{root / name}"


def test_one_source_alone_is_as_before():
    dataset = domains.open_domains("digits")
    assert (dataset.domains, dataset.target) == ((), "")
    assert counts(dataset) == {"train": 807, "val": 90, "test": 900}
    assert "domain" not in dataset.splits["train"].labels


def test_sources_are_numbered_and_balanced(tmp_path):
    one, two = folder(tmp_path, "one"), folder(tmp_path, "three", images=20)
    dataset = domains.open_domains(f"{one} + {two}", val_fraction=0.2)
    assert dataset.domains == ("one", "three")
    domain = dataset.splits["train"].labels["domain"]
    assert counts(dataset) == {"train": 39, "val": 9, "test": 12}  # 20 and 40 images, each cut by itself
    assert np.bincount(domain).tolist() == [13, 26]
    places = order.endless(39, 0, "train", domain=domain)
    rows = places.rows(5, 105)
    assert rows.tolist() == [places[i] for i in range(5, 105)]
    assert domain[rows].tolist() == [1, 0] * 50
    own = places.rows(0, 26)[::2]
    assert sorted(own) == np.flatnonzero(domain == 0).tolist()  # every image once, before any comes again


def test_balanced_rows_have_views():
    places = order.endless(3, 0, "train", views=2, domain=np.array([0, 0, 1, 0, 0, 1]))
    rows = places.rows(0, 8)
    assert sorted(rows[::2].tolist()) == [0, 1, 3, 4]
    assert rows[1::2].tolist() == [2, 5, 2, 5]


def test_a_target_has_no_labels_where_it_is_trained_on(tmp_path):
    source, target = folder(tmp_path, "source"), folder(tmp_path, "target")
    dataset = domains.open_domains(source, target, val_fraction=0.2)
    # The source gives up no test images: it has none of its own, and the test is on the target.
    assert counts(dataset) == {"train": 16, "val": 4, "target": 4, "unlabelled": 16}
    assert dataset.splits["unlabelled"].labels == {}
    assert not set(dataset.splits["unlabelled"].names) & set(dataset.splits["target"].names)
    every = domains.open_domains(source, target, transductive=True)
    assert every.splits["unlabelled"].names == every.splits["target"].names
    assert counts(every)["target"] == 20
    assert every.fingerprint == dataset.fingerprint != domains.open_domains(target, source).fingerprint


@pytest.mark.parametrize("transductive", [False, True])
def test_labelled_target_images_are_a_domain_and_nothing_else(tmp_path, transductive):
    source, target = folder(tmp_path, "source"), folder(tmp_path, "target")
    dataset = domains.open_domains(source, target, transductive=transductive, target_labels=3, val_fraction=0.2)
    train = dataset.splits["train"]
    assert np.bincount(train.labels["domain"]).tolist() == [16, 6]
    assert np.bincount(train.labels["label"][train.labels["domain"] == 1]).tolist() == [3, 3]
    labelled = {id_(train, i) for i in np.flatnonzero(train.labels["domain"] == 1)}
    for name in ("unlabelled", "target"):
        held = {id_(dataset.splits[name], i) for i in range(len(dataset.splits[name]))}
        assert not labelled & held


def id_(split: Split, i: int | np.integer) -> bytes:
    return split.load(int(i)).tobytes()


def test_different_classes_are_named(tmp_path):
    one, two = folder(tmp_path, "one"), folder(tmp_path, "two", ("b", "c"))
    with pytest.raises(
        InputError, match=r"'one' and 'two' have different classes \(only in 'one': a; only in 'two': c"
    ):
        domains.open_domains(one, two)
    with pytest.raises(InputError, match="different classes"):
        domains.open_domains(f"{one}+{two}")


def test_a_target_that_is_a_source_is_refused(tmp_path):
    one, two = folder(tmp_path, "one"), folder(tmp_path, "two")
    with pytest.raises(
        InputError, match=r"the target .* is also a source, or shares images with it .*: its labels would train"
    ):
        domains.open_domains(f"{two}+{one}", one)
    with pytest.raises(InputError, match="its labels would train"):
        domains.open_domains("digits", "digits")
    for part in ("glyphs:digits-serif", "glyphs:digits"):
        with pytest.raises(InputError, match="shares images with it"):
            domains.open_domains("glyphs:digits", part)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("folder:D", "folder:D/train", True),
        ("folder:D/a", "folder:D/ab", False),
        ("folder:./D", "folder:D", True),
        ("tar:F.tar", "tar:F.tar#a", True),
        ("tar:F.tar#b", "tar:F.tar#a", False),
        ("tar:F.tar#b", "tar:G.tar#b", False),
        ("features:F.npz#a", "features:F.npz#b", False),
        ("glyphs", "glyphs:digits-sans", True),
        ("glyphs:digits-mono", "glyphs:digits-sans", False),
        ("glyphs:digits", "digits", False),
        ("tfds:mnist@D", "tfds:svhn@D", False),
    ],
)
def test_a_collection_and_a_part_of_it_share_images(one, other, same):
    assert domains.overlap(one, other) == domains.overlap(other, one) == same


def test_other_mistakes_are_one_sentence(tmp_path):
    one = folder(tmp_path, "one")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no images"):
        domains.open_domains(one, f"folder:{tmp_path / 'empty'}")
    with pytest.raises(InputError, match="nothing on one side of a '\\+'"):
        domains.open_domains(f"{one}+", one)
    with pytest.raises(InputError, match=r"set config\.target"):
        domains.open_domains(one, transductive=True)
    with pytest.raises(InputError, match="3 labels a class are more than class"):
        domains.open_domains("digits", folder(tmp_path, "few", tuple("0123456789"), 2), target_labels=3)
    with pytest.raises(InputError, match="leaves no image without a label"):
        domains.open_domains(one, folder(tmp_path, "all"), target_labels=10, transductive=True)


def test_a_missing_stream_is_named_before_any_work():
    with pytest.raises(InputError, match=r"'dann' reads the stream 'target', and there is none: set config\.target"):
        build.experiment(toy.toy_config("configs/dann.py", **toy.METHODS["dann"] | {"target": ""}))
    with pytest.raises(InputError, match=r"set config\.strong_transforms"):
        build.experiment(toy.toy_config("configs/fixmatch.py", **toy.METHODS["fixmatch"] | {"strong_transforms": ()}))


def test_strong_views_show_the_same_images():
    experiment = build.experiment(toy.toy_config("configs/adamatch.py", **toy.METHODS["adamatch"]))
    weak, strong = (experiment.streams[name][3] for name in ("target", "target_strong"))
    assert weak["index"].tolist() == strong["index"].tolist()
    assert not np.array_equal(weak["image"], strong["image"])
    assert set(weak) == set(strong) == {"image", "index"}


def test_a_label_of_the_target_cannot_be_read():
    """No split that trains carries it, so no loss can ask for it."""
    config = toy.toy_config("configs/mcc.py", **toy.METHODS["mcc"] | {"target_labels": 0})
    experiment = build.experiment(config)
    assert "label" not in experiment.streams["target"][0]
    assert "label" not in next(iter(experiment.passes["target"]))
    assert "label" not in next(iter(experiment.evals["unlabelled"]))
    assert list(inputs.evaluated(experiment.dataset, 0)) == ["val", "test", "target", "reference", "unlabelled"]


def test_styles_of_glyphs_are_domains():
    dataset = domains.open_domains("glyphs:digits-sans+glyphs:digits-mono", "glyphs:digits-serif", val_fraction=0.1)
    assert dataset.classes == tuple("0123456789")
    assert dataset.domains == ("digits-sans", "digits-mono")
    sizes = [
        len(domains.open_source(f"glyphs:digits-{s}", val_fraction=0.0, cut_test=False).splits["train"])
        for s in ("sans", "mono", "serif")
    ]
    assert sum(sizes) == 3000
    with pytest.raises(InputError, match="a style of sans, mono, serif"):
        domains.open_domains("glyphs:digits-gothic")


def test_labelled_images_of_the_target_are_a_domain_of_their_own():
    """A penalty over domains counts them; beside the target's unlabelled images they are of the target's number."""
    settings = {**toy.METHODS["group_dro"], "target_labels": 2}
    experiment = build.experiment(toy.toy_config("configs/group_dro.py", **settings))
    assert experiment.method.memory(None, {}).shape == (3,)
    assert set(experiment.streams["train"][0]["domain"].tolist()) == {0, 1, 2}
    work = toy.Steps(toy.toy_config("configs/dg_dann.py", **{**toy.METHODS["dg_dann"], "target_labels": 2}), devices=1)
    assert work.state.params["discriminator"]["out"]["kernel"].shape == (8, 3)
    work = toy.Steps(toy.toy_config("configs/dann.py", **{**toy.METHODS["dann"], "target_labels": 2}), devices=1)
    assert work.state.params["discriminator"]["out"]["kernel"].shape == (8, 2)


def test_pieces_of_a_batch_hold_every_domain():
    settings = {**toy.METHODS["irm"], "batch_size": 32}
    with pytest.raises(InputError, match=r"accumulate=2 would cut batches of 2 domains .* shares no divisor with 2"):
        build.experiment(toy.toy_config("configs/irm.py", **settings, accumulate=2))
    with pytest.raises(InputError, match=r"config\.target_labels=-1 is too small"):
        build.experiment(toy.toy_config("configs/mcc.py", **{**toy.METHODS["mcc"], "target_labels": -1}))
