"""Whole runs over sentences: probe, unfreezing, LoRA, distillation, adaptation, prediction."""

from __future__ import annotations

import json
import pathlib
import re
import sys

import numpy as np
import pytest
import toy

from tl import build, config, predictor, text
from tl.data.sources import open_source
from tl.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = pathlib.Path(__file__).parent / "golden" / "texts"


def written(path: pathlib.Path, content: str) -> str:
    path.write_text(content)
    return str(path)


def run(folder: pathlib.Path, name: str = "text", **changes):
    row = {"text_cnn": toy.WINDOWS, "text_distill": toy.WINDOWS, "text_dann": toy.WINDOWS}.get(name, toy.TEXT)
    few = {"labels_per_class": 0, "steps": 40, "eval_every": 20}
    chosen = toy.toy_config(f"configs/{name}.py", **{**row, **few, **changes})
    return build.run(chosen, folder, quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("text") / "w"
    summary = run(folder, schedule__lr=1e-2, weights=f"file:{GOLDEN / 'bert'}", model_args={}, text__length=12)
    assert summary["steps"] == 40
    return folder


def test_a_run_predicts_text_by_itself(finished):
    """Its vocabulary lies in its weights: the predictor gives the evaluator's outputs, whatever became of the start."""
    loaded = predictor.load(finished)
    held = np.load(finished / "predictions.npz")
    kept = config.from_json((finished / "config.json").read_text())
    test = open_source(kept.data, seed=kept.seed).splits["test"]
    said = loaded.texts([test.load(i) for i in range(len(test))])["label"]
    np.testing.assert_allclose(np.log(said), _log_softmax(held["test/outputs/label"]), atol=1e-5)
    assert "--text 'A SENTENCE'" in (finished / "report.html").read_text().replace("&#39;", "'")
    with pytest.raises(InputError, match="this run does not read images: ask it by --text"):
        loaded.files([pathlib.Path("a.png")])


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def test_predict_by_command(finished, tmp_path, capsys):
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import predict  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    lines = written(tmp_path / "lines.txt", "a dull film\nis it good\n")
    assert predict.main(["--workdir", str(finished), "--text", "the film", "--lines", lines, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["text"] for row in rows] == ["the film", "a dull film", "is it good"]
    assert all(row["class"] in ("0", "1") for row in rows)
    for arguments, message in (
        ([], "one of these"),
        (["--text", ""], "text 1 of 1 is empty"),
        (["--lines", str(tmp_path / "gone")], "cannot read the lines"),
    ):
        assert predict.main(["--workdir", str(finished), *arguments]) == 2
        assert message in capsys.readouterr().err


def test_a_run_goes_on_from_a_run(finished, tmp_path):
    """The size of the network and its vocabulary come from there; frozen layers are computed once."""
    changes = {"weights": f"run:{finished}", "model_args": {"dropout": 0.0}}
    found = run(tmp_path / "p", "text_probe", **changes)
    assert found["params/trained"] == 16 * 2 + 2
    after = build.experiment(
        toy.toy_config("configs/text.py", **{**toy.TEXT, "weights": f"run:{tmp_path / 'p'}", "model_args": {}})
    )
    assert (after.modules["backbone"].width, after.modules["backbone"].dropout) == (16, 0.1)
    with pytest.raises(InputError, match="vocabularies differ"):
        run(tmp_path / "v", text__vocabulary=written(tmp_path / "v.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"), **changes)
    with pytest.raises(InputError, match=r"config\.text\.length=20 is more than the 16 places"):
        run(tmp_path / "l", text__length=20, **changes)
    with pytest.raises(InputError, match=r"config\.text\.length=-1 is too small"):
        run(tmp_path / "m", text__length=-1, **changes)


@toy.SLOW
def test_gradual_unfreezing_by_layers(tmp_path):
    stages = (
        {"groups": (("head", {}), ("backbone", None))},
        {"groups": (("head", {}), ("backbone/layer2/", {}), ("backbone", None))},
        {"groups": ((".*", {}),)},
    )
    args = {**toy.TEXT["model_args"], "dropout": 0.0}
    run(tmp_path, "text_unfreezing", stages=stages, model_args=args, steps=6)
    first, second, third = (toy.leaves_of(tmp_path / "stages" / str(i)) for i in range(3))
    moved = [
        {path.split("/")[2] for path in a if path.startswith("params/backbone") and (a[path] != b[path]).any()}
        for a, b in ((first, second), (second, third))
    ]
    assert moved == [{"layer2"}, {"embeddings", "layer1", "layer2"}]


def test_rates_fall_by_layer():
    chosen = toy.toy_config(
        "configs/text_unfreezing.py",
        **{**toy.TEXT, "stages": (), "model_args": {**toy.TEXT["model_args"], "layers": 4}},
    )
    factors = toy.Steps(chosen, devices=1).optimizer.factors
    rates = [factors["head/kernel"], *(factors[f"backbone/layer{i}/fc1/kernel"] for i in range(4, 0, -1))]
    rates.append(factors["backbone/embeddings/words/embedding"])
    rates[0] /= 10  # the config's own factor
    np.testing.assert_allclose(rates, 2.6 ** -np.arange(6.0))


def test_lora_beside_attention_and_dense_kernels(tmp_path):
    changes = {"lora__rank": 2, "lora__layers": "backbone/layer", "steps": 6}
    experiment = build.experiment(toy.toy_config("configs/text_lora.py", **{**toy.TEXT, **changes}))
    with_lora = toy.Steps(experiment.config, devices=1).state.params["backbone"]["layer1"]
    assert set(with_lora["attention"]["query"]) == set(with_lora["fc1"]) == {"kernel", "bias", "lora_a", "lora_b"}
    found = run(tmp_path, "text_lora", **changes)
    sides = 4 * (8 + 8) + 2 * (8 + 12)
    assert found["params/trained"] == 2 * (2 * sides) + 8 * 2 + 2
    assert not any("lora" in path for path in toy.leaves_of(tmp_path))


def test_adapters_beside_the_kernels_of_an_encoder(tmp_path):
    """Second matrices beside those of the last feed-forward part, added to them at the end."""
    groups = ((".*/adapter$", {}), ("backbone", None), (".*", {}))
    found = run(tmp_path, "text", adapters="backbone/layer2/fc", groups=groups, steps=6)
    assert found["params/trained"] == 2 * 8 * 12 + 8 * 2 + 2
    assert not any("adapter" in path for path in toy.leaves_of(tmp_path))


def test_adapters_between_the_layers_of_an_encoder(finished, tmp_path):
    """They say nothing at first, alone move with norms and head, and go along to the next run."""
    changes = {"weights": f"run:{finished}", "text__length": 12}
    narrow = {"model_args": {"adapter": 3}}
    found = run(tmp_path / "a", "text_adapters", **changes, **narrow, steps=6, schedule__lr=1e-2)
    assert found["params/trained"] == 2 * (2 * (2 * 16 * 3 + 16 + 3) + 2 * 2 * 16) + 16 * 2 + 2
    before, after = toy.leaves_of(finished), toy.leaves_of(tmp_path / "a")
    own = {path for path in after if "/adapter" in path}
    assert own == after.keys() - before.keys()
    assert all(after[path].any() for path in own)
    still = {path for path in before if (before[path] == after[path]).all()}
    assert still == {path for path in before if "backbone" in path and not re.search(r"/norm\d/", path)}

    changes["classifier"] = "keep"
    plain = run(tmp_path / "plain", "text", **changes, model_args={}, steps=0)
    assert run(tmp_path / "new", "text_adapters", **changes, **narrow, steps=0)["test/loss"] == plain["test/loss"]
    again = run(tmp_path / "b", "text_adapters", **{**changes, "weights": f"run:{tmp_path / 'a'}"}, **narrow, steps=0)
    assert again["test/loss"] == found["test/loss"] != plain["test/loss"]
    with pytest.raises(InputError, match=r"model_args.adapter=-1 is no width"):
        run(tmp_path / "c", "text_adapters", model_args={"adapter": -1})


@toy.SLOW
def test_windows_learn_from_an_encoder(finished, tmp_path):
    """The student reads the teacher's pieces; one of other words is refused."""
    run(tmp_path / "s", "text_distill", teacher__weights=f"run:{finished}", teacher__model_args={}, steps=6)
    assert toy.leaves_of(tmp_path / "s")["params/backbone/embedding/embedding"].shape == (24, 6)
    np.savez(tmp_path / "g.npz", words=np.array(["film"]), vectors=np.ones((1, 6), np.float32))
    with pytest.raises(InputError, match=r"vocabularies differ .* name weights of the same"):
        run(tmp_path / "t", "text_distill", teacher__weights=f"run:{finished}", weights=f"file:{tmp_path / 'g.npz'}")


def test_adaptation_between_two_sets(tmp_path):
    target = written(
        tmp_path / "t.tsv", "".join(f"{i % 2}\ta story {i} was {'dull' if i % 2 else 'fine'}\n" for i in range(40))
    )
    found = run(tmp_path / "w", "text_dann", target=f"tsv:{target}", bottleneck__width=4, eval_batch_size=24)
    assert 0 <= found["target/accuracy"] <= 1
    assert (tmp_path / "w" / "report.html").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method_args": {"mixup": 0.2}},
            "'finetune', or one of its method_args, is about images, and config.data holds sentences",
        ),
        (
            {"train_transforms": (("flip", {}),)},
            r"config\.train_transforms changes images, but config\.data holds sentences",
        ),
        ({"mean": (0.5, 0.5, 0.5)}, r"config\.mean changes images, but config\.data holds sentences"),
        ({"image_size": 64}, r"config\.image_size is of images, but config\.data holds sentences: set it to 0\."),
        ({"std": (0.5, 0.5, 0.5)}, r"config\.std changes images, but config\.data holds sentences"),
        ({"model": "lenet", "model_args": {}}, r"holds sentences: set config\.model='bert' or .*'lstm'"),
        ({"data": "digits"}, r"config\.model='bert' does not go with config\.data, which holds images"),
        ({"head__pool": "flatten"}, "needs a spatial map"),
    ],
)
def test_what_does_not_go_with_sentences(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "w", **changes)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("key", ["length", "vocabulary"])
def test_what_is_about_sentences_does_not_go_with_images(key):
    with pytest.raises(InputError, match=rf"config\.text\.{key} is of sentences, but config\.data holds images"):
        build.experiment(toy.toy_config(**{**toy.PLAIN, f"text__{key}": {"length": 8, "vocabulary": "v.txt"}[key]}))


def test_methods_of_two_views_want_images(tmp_path):
    views = {"unlabelled": True, "labels_per_class": 4, "steps": 6}
    with pytest.raises(InputError, match="'fixmatch' compares two views of an image"):
        run(tmp_path / "w", method="fixmatch", **views)


def test_an_older_config_has_no_such_key(finished):
    kept = config.from_json((finished / "config.json").read_text())
    with kept.unlocked():
        del kept["text"]
    assert isinstance(build.experiment(kept).preprocess["backbone"], text.Text)
