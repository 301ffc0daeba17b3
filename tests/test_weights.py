"""Pretrained weights from a spec to a tree: known names, own and foreign files, soups, the script."""

from __future__ import annotations

import hashlib
import pathlib
import runpy

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from huggingface_hub import constants
from weight_files import BF16, assert_same, flat_tree, seed_hub_cache, tensor, write_legacy, write_zip

from tl import models, weights
from tl.errors import InputError
from tl.preprocess import Preprocess
from tl.weights import fetch, known, readers


def test_known_table() -> None:
    assert len({row.source for row in known.TABLE}) == len(known.TABLE)
    for row in known.TABLE:
        assert row.model in models.names()
        assert row.source.startswith(("hf:", "https:")) or row.source == "bundled"
        assert len(row.sha256) in (0, 8, 16)
        assert row.sha256 or not row.source.startswith("https:")  # a URL is always checked
        assert known.of_source(row.source) is row
    own_files_only = {f"resnet{depth}_cifar" for depth in (32, 44, 56, 110)} | {
        "mobilenet_v2_tf",
        "lenet",
        "conv4",
        "vectors",
        "textcnn",
        "lstm",
        "triples",
    }
    assert set(models.names()) == set(known.KNOWN) | own_files_only
    row = known.of_source("hf:timm/resnet50.tv2_in1k@main")
    assert row is not None
    assert row.preprocess == Preprocess(size=224, resize=232)
    assert known.default("bit_resnet50x1").preprocess == Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    for spec in ("", "known"):
        with pytest.raises(InputError, match=r"weights are known for the model 'resnet56_cifar'.*file:"):
            weights.load(spec, "resnet56_cifar")
        assert fetch.resolve(spec, "resnet18") == "hf:timm/resnet18.tv_in1k"


# From a spec to a tree.


def test_own_weights_are_for_their_own_model(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "weights.safetensors"
    meta = weights.metadata("resnet20_cifar", Preprocess(size=32, resize=32), ["ant", "bee", "cat"])
    weights.write(path, flat_tree(), meta)
    for spec in (f"file:{path}", f"run:{tmp_path}"):
        loaded = weights.load(spec, "resnet20_cifar")
        assert loaded is not None
        assert_same(loaded.flat, flat_tree())
        assert loaded.preprocess == Preprocess(size=32, resize=32)
        assert loaded.classes == ("ant", "bee", "cat")
        assert loaded.source == spec
        assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        with pytest.raises(InputError, match="for the model 'resnet20_cifar', but the model is 'resnet50'"):
            weights.load(spec, "resnet50")
    assert weights.load("none", "resnet50") is None
    for key, text in (("preprocess", "{}"), ("tasks", "{")):
        weights.write(path, flat_tree(), {**meta, key: text})
        with pytest.raises(InputError, match=r"metadata .* damaged"):
            weights.load(f"file:{path}", "resnet20_cifar")
    weights.write(path, {"params/backbone/stem/conv/kernel": np.ones(2, BF16)}, weights.metadata("resnet18"))
    loaded = weights.load(f"file:{path}", "resnet18")
    assert loaded is not None
    assert loaded.flat["params/backbone/stem/conv/kernel"].dtype == np.float32
    assert (loaded.preprocess, loaded.classes) == (None, None)


def test_foreign_weights_get_this_projects_names(tmp_path: pathlib.Path) -> None:
    kernel = np.arange(16 * 3 * 3 * 3, dtype=np.float16).reshape(16, 3, 3, 3)
    write_zip(tmp_path / "a.th", {"state_dict": {"module.conv1.weight": tensor("HalfStorage", "0", kernel)}})
    loaded = weights.load(f"file:{tmp_path / 'a.th'}", "resnet20_cifar")
    assert loaded is not None
    found = loaded.flat["params/backbone/stem/conv/kernel"]
    np.testing.assert_array_equal(found, kernel.transpose(2, 3, 1, 0))
    assert found.dtype == np.float32
    write_zip(tmp_path / "a.th", {"encoder.weight": tensor("HalfStorage", "0", kernel)})
    with pytest.raises(InputError, match=r"encoder\.weight"):
        weights.load(f"file:{tmp_path / 'a.th'}", "resnet20_cifar")


def test_real_weights_are_the_same_from_both_formats(tl_data: pathlib.Path) -> None:
    trees = []
    for name in ("cifar10_resnet20.th", "cifar10_resnet20.safetensors"):
        loaded = weights.load(f"file:{tl_data / 'weights' / name}", "resnet20_cifar")
        assert loaded is not None
        trees.append(loaded.flat)
    assert weights.tree_sha256(trees[0]) == weights.tree_sha256(trees[1])
    assert sum(v.size for k, v in trees[0].items() if k.startswith("params/")) == 269_722  # 0.27 M in He et al.


def test_known_sources_bring_their_preprocessing_and_digest(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    tensors = {"conv1.weight": np.ones((16, 3, 3, 3), np.float32)}
    content = safetensors.numpy.save(tensors, {"format": "pt"})
    seed_hub_cache(tmp_path, "timm/net", "model.safetensors", content)
    digest = hashlib.sha256(content).hexdigest()
    special = Preprocess(size=40, resize=48)
    row = known.Known("resnet20_cifar", "hf:timm/net", "MIT", sha256=digest[:16], preprocess=special)
    monkeypatch.setattr(known, "TABLE", (row,))
    loaded = weights.load("hf:timm/net", "resnet20_cifar")
    assert loaded is not None
    assert (loaded.preprocess, loaded.sha256) == (special, digest)
    seed_hub_cache(tmp_path, "timm/net", "model.safetensors", safetensors.numpy.save(tensors, {"format": "other"}))
    with pytest.raises(InputError, match=f"not {digest[:16]} as published"):
        weights.load("hf:timm/net", "resnet20_cifar")
    loaded = weights.load("hf:timm/net@main", "resnet20_cifar")  # a named revision is taken knowingly
    assert loaded is not None
    assert loaded.preprocess == special


def test_specs_split_at_plus_before_a_spec() -> None:
    assert weights.split_specs("") == [""]
    assert weights.split_specs("file:a+b.pth") == ["file:a+b.pth"]
    assert weights.split_specs("run:a+file:b+c+hf:x/y@main:z") == ["run:a", "file:b+c", "hf:x/y@main:z"]


def test_soup_is_the_mean(tmp_path: pathlib.Path) -> None:
    meta = weights.metadata("resnet18", Preprocess(), ["a", "b", "c"])
    for index, value in enumerate((1.0, 2.0, 6.0)):
        weights.write(tmp_path / str(index), flat_tree(value), meta)
    spec = "+".join(f"file:{tmp_path / str(index)}" for index in range(3))
    soup = weights.load(spec, "resnet18")
    assert soup is not None
    assert_same(soup.flat, {name: np.asarray(v, np.float32) for name, v in flat_tree(3.0).items()})
    assert (soup.classes, soup.source, len(soup.sha256)) == (("a", "b", "c"), spec, 64)
    digests = [readers.file_sha256(tmp_path / str(index)) for index in range(3)]
    assert soup.sha256 == hashlib.sha256("\n".join(digests).encode()).hexdigest()


def test_soups_of_different_things_are_refused(tmp_path: pathlib.Path) -> None:
    meta = weights.metadata("resnet18", Preprocess(), ["a", "b", "c"])
    first, second = tmp_path / "one", tmp_path / "two"
    spec = f"file:{first}+file:{second}"
    weights.write(first, flat_tree(), meta)
    missing = {name: value for name, value in flat_tree().items() if "head" not in name}
    for flat, its_meta, message in (
        (
            flat_tree(classes=4),
            meta,
            r"1 leaves differ, among them params/head/kernel \(\(2, 3\) and \(2, 4\)\)",
        ),
        (missing, meta, r"params/head/kernel \(\(2, 3\) and missing\)"),
        (flat_tree(), weights.metadata("resnet18", Preprocess(), ["b", "a", "c"]), "their classes differ"),
        (
            flat_tree(),
            weights.metadata("resnet18", Preprocess(size=64), ["a", "b", "c"]),
            "preprocessing differ",
        ),
        (flat_tree(), weights.metadata("resnet34"), "'resnet34', but the model is 'resnet18'"),
    ):
        weights.write(second, flat, its_meta)
        with pytest.raises(InputError, match=message) as caught:
            weights.load(spec, "resnet18")
        assert str(second) in str(caught.value)
    with pytest.raises(InputError, match="mix 'none' into a soup"):
        weights.load(f"file:{first}+none", "resnet18")


# The script.


def test_convert_script(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = pathlib.Path(__file__).parents[1] / "scripts/convert_weights.py"
    main = runpy.run_path(str(script))["main"]
    kernel = np.ones((16, 3, 3, 3), np.float32)
    write_legacy(tmp_path / "a.th", {"conv1.weight": tensor("FloatStorage", "0", kernel)})
    arguments = [str(tmp_path / "a.th"), "--model", "resnet20_cifar", str(tmp_path / "a.safetensors")]
    assert main(arguments) == 0
    assert "licence: not known" in capsys.readouterr().out
    loaded = weights.load(f"file:{tmp_path / 'a.safetensors'}", "resnet20_cifar")
    assert loaded is not None
    assert list(loaded.flat) == ["params/backbone/stem/conv/kernel"]
    assert loaded.preprocess == models.preprocess("resnet20_cifar")
    _, meta = readers.read(tmp_path / "a.safetensors")
    assert meta["source_sha256"] == readers.file_sha256(tmp_path / "a.th")
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert main([str(tmp_path / "gone"), "--model", "resnet20_cifar", str(tmp_path / "b")]) == 2
    assert not (tmp_path / "b").exists()
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(row.source in listed for row in known.TABLE)
    assert "terms of their own" in listed
