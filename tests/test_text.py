"""Sentences from files, their tokens, and whole runs over them: probe, unfreezing, LoRA, distillation, adaptation."""

from __future__ import annotations

import json
import pathlib
import sys

import numpy as np
import pytest
import toy

from tl import build, config, predictor, text
from tl.data import domains, sources, texts
from tl.data.sources import open_source
from tl.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = pathlib.Path(__file__).parent / "golden" / "texts"


def written(path: pathlib.Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


# Files.


def test_a_file_of_lines(tmp_path):
    """Labels that are names become classes in alphabetical order; a name says the file and the line."""
    file = written(tmp_path / "reviews.tsv", "good\tA fine film .\r\nbad\tdull\twith a tab\n" * 5)
    found = open_source(f"tsv:{file}", val_fraction=0.2)
    assert found.classes == ("bad", "good")
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 6, "val": 2, "test": 2}
    train = found.splits["train"]
    assert (train.field, train.holds, train.pictures) == ("text", "sentences", False)
    for i in range(len(train)):
        line = int(train.names[i].removeprefix("reviews.tsv:"))
        assert train.load(i) == ("A fine film .", "dull\twith a tab")[(line - 1) % 2]
        assert train.labels["label"][i] == line % 2


def test_files_beside_a_training_set(tmp_path):
    for name in ("a_train", "a_dev", "a_test", "b_test"):
        written(tmp_path / f"{name}.tsv", "".join(f"{i % 3}\t{name} {i}\n" for i in range(6)))
    found = texts.tsv(str(tmp_path / "a_train.tsv"), "label")
    assert {name: split.load(4) for name, split in found.splits.items()} == {
        "train": "a_train 4",
        "val": "a_dev 4",
        "test": "a_test 4",
    }
    assert open_source(f"tsv:{tmp_path / 'a_train.tsv'}").classes == ("0", "1", "2")
    assert set(texts.tsv(str(tmp_path / "b_test.tsv"), "label").splits) == {"train"}
    assert texts.files(str(tmp_path / "a_train.tsv"), "tsv")["val"].name == "a_dev.tsv"
    for name in ("train", "test"):
        written(tmp_path / f"{name}.csv", 'id,text,label\n1,"good, really",x\n2,bad,y\n')
    table = texts.csv(str(tmp_path), "label")
    assert {name: split.load(0) for name, split in table.splits.items()} == dict.fromkeys(
        ("train", "test"), "good, really"
    )
    assert table.splits["test"].names == ["test.csv:2", "test.csv:3"]
    written(tmp_path / "a_valid.tsv", "0\tx\n")
    with pytest.raises(InputError, match="are both a set 'val'"):
        texts.tsv(str(tmp_path / "a_train.tsv"), "label")


def test_scores_of_sentences(tmp_path):
    file = written(tmp_path / "s.tsv", "".join(f"{i / 4}\tsentence {i}\n" for i in range(20)))
    found = open_source(f"tsv:{file}", kind="regression")
    assert found.splits["train"].labels["label"].dtype == np.float32
    with pytest.raises(InputError, match="must be whole numbers"):
        open_source(f"tsv:{file}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "1\tgood\n0 bad\n", r"a\.tsv', line 2, has no tab: write label TAB sentence"),
        ("a.tsv", "1\tgood\n0\t \n", r"a\.tsv', line 2, has no text: write one, or drop the line"),
        ("a.tsv", "1\tgood\n\tbad\n", r"a\.tsv', line 2, has no label"),
        ("a.tsv", b"1\tgood\n0\tcaf\xe9\n", r"a\.tsv', line 2, is not utf-8 \(byte 0xe9\): save the file as utf-8"),
        ("a.csv", "label,sentence\n1,good\n", r"a\.csv' has no column 'text'"),
        ("a.csv", "label,text\n1,\n", r"a\.csv', line 2, has no text"),
    ],
)
def test_what_a_file_may_not_hold(tmp_path, name, content, message):
    file = written(tmp_path / name, content)
    with pytest.raises(InputError, match=message):
        open_source(f"{name[-3:]}:{file}")


def test_sentences_of_the_target_do_not_train(tmp_path, caplog):
    (tmp_path / "one.tsv").write_text("".join(f"{i % 2}\tfilm {i}\n" for i in range(20)))
    (tmp_path / "two.tsv").write_text("".join(f"{i % 2}\tfilm  {i}\n" for i in range(15, 30)))
    found = domains.open_domains(f"tsv:{tmp_path / 'one.tsv'}", f"tsv:{tmp_path / 'two.tsv'}", val_fraction=0.0)
    assert sorted(texts.sentences(found.splits["train"])) == sorted(f"film {i}" for i in range(15))
    assert "5 of 20 sentences of train are the target's, too, and left out" in caplog.text
    (tmp_path / "three.tsv").write_text((tmp_path / "one.tsv").read_text() + "1\tmore\n")
    with pytest.raises(InputError, match="nothing is left to learn from"):
        domains.open_domains(f"tsv:{tmp_path / 'one.tsv'}", f"tsv:{tmp_path / 'three.tsv'}", val_fraction=0.0)


def test_labels_that_are_none(tmp_path):
    (tmp_path / "a.tsv").write_text("label\ttext\n0\tfilm\n")
    with pytest.raises(InputError, match="begins with the names of columns"):
        sources.open_whole(f"tsv:{tmp_path / 'a.tsv'}")
    (tmp_path / "b.tsv").write_text("0.5\tfilm\n4,5\tplay\n")
    with pytest.raises(InputError, match=r"are names, such as '4,5', and a regression has numbers"):
        sources.open_whole(f"tsv:{tmp_path / 'b.tsv'}", kind="regression")
    (tmp_path / "c.csv").write_text('label,text\n0,film\n1,"play\n0,more\n')
    with pytest.raises(InputError, match="close every quote"):
        sources.open_whole(f"csv:{tmp_path / 'c.csv'}")


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"no such file: 'gone\.tsv' \(data=tsv:FILE\)"):
        open_source("tsv:gone.tsv")
    with pytest.raises(InputError, match=r"no such file: .*train\.csv"):
        open_source(f"csv:{tmp_path}")


def test_sentences_that_tfds_prepared(tmp_path):
    import tensorflow_datasets as tfds

    class Reviews(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["bad", "good"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": ((i, {"text": f"numéro {i}", "label": i % 2}) for i in range(10))}

        def _generate_examples(self):
            raise NotImplementedError

    Reviews.name = "reviews"
    Reviews(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    train = open_source(f"tfds:reviews@{tmp_path}").splits["train"]
    assert train.field == "text"
    for i in range(len(train)):
        assert train.load(i) in {f"numéro {n}" for n in range(train.labels["label"][i], 10, 2)}


# Tokens.


def test_words_as_kim_cuts_them():
    said = "It's a don't-miss (really!), isn't it? the caf\u00e9's 2nd: they've we'll ca n't"
    apart = "it 's a do n't miss ( really ! ) , is n't it ? the caf\u00e9 's 2nd they 've we 'll ca n't"
    assert " ".join(text.words(said)) == apart


def test_rows_of_tokens(caplog):
    known = text.Text("words", ("", "[UNK]", "film"), 3).with_words(["a film , a"])
    assert known.vocabulary == ("", "[UNK]", "film", "a", ",")
    rows, cut = known.rows(["film", "a new film a", "..."])
    np.testing.assert_array_equal(rows, [[2, 0, 0], [3, 1, 2], [1, 0, 0]])
    assert (rows.dtype, cut) == (np.int32, 1)
    assert text.Text.from_json(known.to_json()) == known
    assert known.fitted(["a"] * 99 + ["a " * 30]).length == 8
    split = texts.split_of(["film", "a new film a"], known)
    assert (split.field, split.load(1).tolist()) == ("tokens", [3, 1, 2])
    assert "1 of 2 sentences of the given are longer than 3 tokens, and cut" in caplog.text
    with pytest.raises(InputError, match="text 2 of 2 is empty"):
        texts.split_of(["film", "  "], known)


def test_capitals_of_a_vocabulary_count():
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "Film", "film", "\u00e9t\u00e9", "ete")
    assert text.Text("wordpiece", pieces).tokens(["Film \u00e9t\u00e9"]) == [[2, 5, 7, 3]]
    assert text.Text("wordpiece", (*pieces, "A")).tokens(["Film \u00e9t\u00e9"]) == [[2, 4, 6, 3]]


# Runs.


def run(folder: pathlib.Path, name: str = "text", **changes):
    row = {"text_cnn": toy.WINDOWS, "text_distill": toy.WINDOWS, "text_dann": toy.WINDOWS}.get(name, toy.TEXT)
    chosen = toy.toy_config(f"configs/{name}.py", **{**row, "labels_per_class": 0, "steps": 40, **changes})
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
        **{**toy.TEXT, "stages": (), "model_args": {**toy.TEXT["model_args"], "layers": 11}},
    )
    factors = toy.Steps(chosen, devices=1).optimizer.factors
    rates = [factors["head/kernel"], *(factors[f"backbone/layer{i}/fc1/kernel"] for i in range(11, 0, -1))]
    rates.append(factors["backbone/embeddings/words/embedding"])
    rates[0] /= 10  # the config's own factor
    np.testing.assert_allclose(rates, 2.6 ** -np.arange(13.0))


def test_lora_beside_attention_and_dense_kernels(tmp_path):
    changes = {"lora__rank": 2, "lora__layers": "backbone/layer", "steps": 6}
    experiment = build.experiment(toy.toy_config("configs/text_lora.py", **{**toy.TEXT, **changes}))
    with_lora = toy.Steps(experiment.config, devices=1).state.params["backbone"]["layer1"]
    assert set(with_lora["attention"]["query"]) == set(with_lora["fc1"]) == {"kernel", "bias", "lora_a", "lora_b"}
    found = run(tmp_path, "text_lora", **changes)
    sides = 4 * (8 + 8) + 2 * (8 + 12)
    assert found["params/trained"] == 2 * (2 * sides) + 8 * 2 + 2
    assert not any("lora" in path for path in toy.leaves_of(tmp_path))


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
        ({"model": "lenet", "model_args": {}}, r"holds sentences: set config\.model='bert' or .*'lstm'"),
        ({"data": "digits"}, r"config\.model='bert' does not go with config\.data, which holds images"),
        ({"head__pool": "flatten"}, "needs a spatial map"),
    ],
)
def test_what_does_not_go_with_sentences(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "w", **changes)
    assert not (tmp_path / "w").exists()


def test_methods_of_two_views_want_images(tmp_path):
    views = {"unlabelled": True, "labels_per_class": 4, "steps": 6}
    with pytest.raises(InputError, match="'fixmatch' compares two views of an image"):
        run(tmp_path / "w", method="fixmatch", **views)


def test_an_older_config_has_no_such_key(finished):
    kept = config.from_json((finished / "config.json").read_text())
    with kept.unlocked():
        del kept["text"]
    assert isinstance(build.experiment(kept).preprocess["backbone"], text.Text)
