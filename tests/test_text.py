"""Sentences from files, and their tokens."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from tl import text
from tl.data import domains, sources, texts
from tl.data.sources import open_source
from tl.errors import InputError


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
        ("a.tsv", "sentence\tlabel\ngood\t1\n", "begins with the names of columns"),
        ("a.tsv", "".join(f"film {i}\tgood\n" for i in range(40)), r"40 sentences have 40 classes, .* the label first"),
        ("a.tsv", "1\tgood\n0 bad\n", r"a\.tsv', line 2, has no tab: write label TAB sentence"),
        ("a.tsv", "1\tgood\n0\t \n", r"a\.tsv', line 2, has no text: write one, or drop the line"),
        ("a.tsv", "1\tgood\n\tbad\n", r"a\.tsv', line 2, has no label"),
        ("a.tsv", b"1\tgood\n0\tcaf\xe9\n", r"a\.tsv', line 2, is not utf-8 \(byte 0xe9\): save the file as utf-8"),
        ("a.csv", "label,sentence\n1,good\n", r"a\.csv' has no column 'text'"),
        ("a.csv", "label,text\n1,\n", r"a\.csv', line 2, has no text"),
        ("a.csv", "label,text,text\n1,good,1\n", r"a\.csv' has several columns 'text'"),
        ("a.csv", '"label,text\n1,good\n', r"a\.csv', line \d: .*: close every quote"),
        ("a.tsv", "mood\treview\n" + "0\tbad\n1\tgood\n" * 9, r"seems to begin with .* 'mood' and 'review': drop"),
        ("a.tsv", "mood\treview\n" + "no\tbad\nyes\tgood\n" * 9, r"seems to begin with .* 'mood' and 'review': drop"),
        ("a.tsv", "yes\tgood film\n" * 9, r"a\.tsv' has one class, 'yes', and there is nothing to tell apart"),
        ("a.tsv", "0\tbad\n1\tgood\n", r"2 training sentences are too few to cut a test split from"),
        ("a.csv", "label,text\n1,good\n0,dull, really\n", r"a\.csv', line 3, has more columns .* commas in quotes"),
        ("a.csv", "label,text\n", r"a\.csv' holds no sentences"),
        ("a.tsv", "1\tbad\n5\tgood\n" * 9, "without training sentences: '0', .*; number the classes from 0, or write"),
        ("a.tsv", "-1\tbad\n1\tgood\n" * 9, "label -1 .* is out of range: .*; number the classes from 0, or write"),
        ("a.tsv", "0\tbad\n1e400\tgood\n" * 9, r"labels of .*a\.tsv' hold 9 NaN or infinite values"),
        ("a.tsv", "0\tbad\n1e12\tgood\n" * 9, "must be whole numbers"),
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
    (tmp_path / "d.tsv").write_text("good\tfilm\ngood\tplay\n")
    with pytest.raises(InputError, match=r"are names, such as 'good', and a regression has numbers"):
        sources.open_whole(f"tsv:{tmp_path / 'd.tsv'}", kind="regression")
    (tmp_path / "c.csv").write_text('label,text\n0,film\n1,"play\n0,more\n')
    with pytest.raises(InputError, match="close every quote"):
        sources.open_whole(f"csv:{tmp_path / 'c.csv'}")


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_lines_that_end_as_on_an_old_mac(tmp_path, name):
    between = "\t" if name.endswith("tsv") else ","
    rows = ["label,text"] * (between == ",") + [f"{i % 2}{between}film {i}" for i in range(20)]
    found = sources.open_whole(f"{name[-3:]}:{written(tmp_path / name, chr(13).join(rows))}")
    assert texts.sentences(found.splits["train"]) == [f"film {i}" for i in range(20)]


def test_a_long_sentence_of_a_table_is_read(tmp_path):
    file = written(tmp_path / "a.csv", f'label,text\n0,"{"film, " * 30000}"\n1,play\n')
    assert len(texts.csv(file, "label").splits["train"].load(0)) == 6 * 30000 - 1


def test_scores_are_finite(tmp_path):
    for score in ("1e400", "1e300"):
        file = written(tmp_path / "a.tsv", f"0.5\tfilm\n{score}\tplay\n" * 9)
        with pytest.raises(InputError, match="hold 9 NaN or infinite values"):
            open_source(f"tsv:{file}", kind="regression")


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"no such file: 'gone\.tsv' \(data=tsv:FILE\)"):
        open_source("tsv:gone.tsv")
    with pytest.raises(InputError, match=r"no such file: .*train\.csv"):
        open_source(f"csv:{tmp_path}")


def test_sentences_that_tfds_prepared(tmp_path, caplog):
    import tensorflow_datasets as tfds

    class Reviews(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["bad", "good"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            held_back = ((i, {"text": f"question {i}", "label": -1}) for i in range(3))  # as GLUE's are
            return {"train": ((i, {"text": f"numéro {i}", "label": i % 2}) for i in range(10)), "test": held_back}

        def _generate_examples(self):
            raise NotImplementedError

    Reviews.name = "reviews"
    Reviews(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    opened = open_source(f"tfds:reviews@{tmp_path}")
    assert "the split 'test' of 'reviews' has no labels: it is left out" in caplog.text
    assert not any("question" in opened.splits["test"].load(i) for i in range(len(opened.splits["test"])))
    train = opened.splits["train"]
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
    with pytest.raises(InputError, match="text 1 of 1 is not utf-8"):
        texts.split_of(["caf\udce9"], known)
    with pytest.raises(InputError, match="text 2 of 2 is empty"):
        texts.split_of(["film", "  "], known)


def test_capitals_of_a_vocabulary_count():
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "Film", "film", "\u00e9t\u00e9", "ete")
    assert text.Text("wordpiece", pieces).tokens(["Film \u00e9t\u00e9"]) == [[2, 5, 7, 3]]
    assert text.Text("wordpiece", (*pieces, "A")).tokens(["Film \u00e9t\u00e9"]) == [[2, 4, 6, 3]]


def test_copies_of_a_sentence_are_found_however_they_are_cut(tmp_path, caplog):
    """MR and SST-2 hold the same reviews, spaced and bracketed otherwise."""
    own = ["One of Polanski's best films .", "a film ( it says )", "another  one", "!!", "something else"]
    other = ["one of polanski 's best films .", "a film -LRB- it says -RRB-", "another one", "! !", "new"]
    first, second = (
        dataset_of({"train": lines[:4], "test": lines[4:]}, tmp_path / f"{i}") for i, lines in enumerate((own, other))
    )
    left = texts.apart(first.splits, second)
    assert [texts.sentences(split) for split in left.values()] == [["!!"], ["something else"]]
    held = texts.disjoint({"train": first.splits["train"], "test": second.splits["train"]})
    assert list(held) == ["train", "test"]
    assert texts.sentences(held["train"]) == ["!!"]
    assert "3 of 4 sentences of train are held out by another source, too, and left out" in caplog.text


def dataset_of(parts, folder):
    folder.mkdir()
    for name, lines in parts.items():
        written(folder / f"{name}.tsv", "".join(f"{i % 2}\t{line}\n" for i, line in enumerate(lines)))
    return texts.tsv(str(folder), "classification")
