"""Tags of words: entities as conlleval counts them, files, tokens, the loss by hand, and what does not go with them."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tagged_sentences
import toy
import toy_settings

from tl import build, metrics, models, plan, spans, tasks, text
from tl.data import texts
from tl.data.sources import open_source
from tl.errors import InputError
from tl.evaluators import class_report

NAMES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def numbers(tags: str, length: int) -> list[int]:
    found = [NAMES.index(tag) for tag in tags.split()]
    return found + [spans.NONE] * (length - len(found))


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("I-PER I-PER O I-LOC B-LOC I-LOC", [("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 6)]),  # IOB1
        ("B-PER E-PER S-PER S-LOC B-LOC I-LOC E-LOC", [("PER", 0, 2), ("PER", 2, 3), ("LOC", 3, 4), ("LOC", 4, 7)]),
        ("B-PER I-LOC I-LOC O", [("PER", 0, 1), ("LOC", 1, 3)]),  # another type begins another entity
        ("E-PER I-PER S-PER I-PER", [("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3), ("PER", 3, 4)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
        ("O O", []),
    ],
)
def test_entities_of_any_scheme(tags, wanted):
    assert spans.spans(tags.split()) == wanted
    assert spans.spans(spans.bio(tags.split())) == wanted
    assert spans.bio(["I-A", "I-A", "B-A", "S-B", "E-B"]) == ["B-A", "I-A", "B-A", "B-B", "B-B"]


def test_figures_by_hand():
    """Three sentences: an entity found, one a word too short, one of another type, one invented and one begun by I-."""
    truth = ["B-PER I-PER O B-LOC", "B-LOC O B-PER I-PER", "O B-LOC"]
    found = ["I-PER I-PER O B-PER", "B-LOC O B-PER O", "B-LOC I-LOC"]
    labels = np.array([numbers(row, 5) for row in truth])
    said = np.array([numbers(row, 5) for row in found])
    said[:, 4] = [2, 1, 3]  # nobody asks what stands at a token without a tag
    logits = 3.0 * np.eye(5)[said]
    values = metrics.tagging(logits, labels, NAMES)
    # True: PER, LOC | LOC, PER | LOC. Found: PER right, PER | LOC right, PER | LOC.
    right, chosen, there = 2, 5, 5
    wanted = {"precision": right / chosen, "recall": right / there, "f1": 2 * right / (chosen + there)}
    wanted |= {"f1_PER": 2 * 1 / (3 + 2), "f1_LOC": 2 * 1 / (2 + 3), "token_accuracy": 5 / 10}
    miss = np.log(np.exp(3) + 4)
    wanted["loss"] = (5 * (miss - 3) + 5 * miss) / 10
    assert values == pytest.approx(wanted)
    assert list(values)[2] == "f1"
    types, report, together = metrics.entities(labels, said, NAMES)
    assert types == ("LOC", "PER")
    assert {name: column.tolist() for name, column in report.items()} == {
        "precision": [1 / 2, 1 / 3],
        "recall": [1 / 3, 1 / 2],
        "f1": [2 / 5, 2 / 5],
        "support": [3, 2],
    }
    assert together["support"].tolist() == [5]
    counted = class_report.tables(tasks.make("label", "tags", NAMES), labels, metrics.softmax(logits), NAMES)
    assert counted is not None
    assert counted.names == ("LOC", "PER")
    assert counted.confusion.sum() == 10
    assert counted.confusion[3].tolist() == [0, 0, 0, 1, 1]  # B-PER, once found and once begun by I-
    assert np.isnan(list(metrics.tagging(logits * np.nan, labels, NAMES).values())).all()


def test_the_loss_is_a_mean_over_tagged_tokens():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 4, 5)), np.array([[0, 3, -1, 4], [2, -1, -1, -1], [-1] * 4])
    with jax.enable_x64(True):
        task = tasks.make("label", "tags", NAMES)
        given = jnp.asarray(logits), jnp.asarray(labels)
        value, each = task.loss(*given), task.each(*given)
    own = {
        (i, j): np.log(np.exp(logits[i, j]).sum()) - logits[i, j, labels[i, j]]
        for i, j in np.argwhere(labels >= 0).tolist()
    }
    np.testing.assert_allclose(value, sum(own.values()) / 4, rtol=1e-12)
    np.testing.assert_allclose(each, [(own[0, 0] + own[0, 1] + own[0, 3]) / 3, own[1, 0], 0], rtol=1e-12)
    np.testing.assert_array_equal(tasks.known(labels), [True, True, False])


# Files.


def conll(path: pathlib.Path, content: str) -> str:
    path.write_text(content)
    return f"conll:{path}"


def test_a_file_of_words_and_tags(tmp_path):
    """Columns by blanks or tabs, IOB1 and BIOES become B- and I-; eng.train brings eng.testa and eng.testb along."""
    conll(
        tmp_path / "eng.train",
        "-DOCSTART- -X- O O\n\nAnna NN I-PER\nmet\tVB\tO\nU.N.  NN S-ORG\r\n\n\nBen B-PER\nLee E-PER",
    )
    conll(tmp_path / "eng.testa", "Ben B-PER\n")
    conll(tmp_path / "eng.testb", "UN I-ORG\nUN B-ORG\n\n")
    found = open_source(f"conll:{tmp_path / 'eng.train'}", kind="tags")
    assert found.classes == ("O", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 2, "val": 1, "test": 1}
    train = found.splits["train"]
    assert [train.load(i) for i in range(2)] == [("Anna", "met", "U.N."), ("Ben", "Lee")]
    assert train.labels["label"].tolist() == [[3, 0, 1], [3, 4, -1]]
    assert train.names == ["eng.train:3", "eng.train:8"]
    assert found.splits["test"].labels["label"].tolist() == [[1, 1, -1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Anna B-PER\nmet\n", r"a\.txt', line 2, has one column, 'met': write a word and its tag"),
        ("Anna PER\n", r"a\.txt', line 1, has the tag 'PER': write O, or B-, I-, E- or S- before a type"),
        ("Anna B-\n", "has the tag 'B-'"),
        ("\n-DOCSTART- -X- O\n\n", r"a\.txt' holds no sentence"),
    ],
)
def test_what_a_file_may_not_hold(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        open_source(conll(tmp_path / "a.txt", content), kind="tags")


def test_a_type_that_only_test_has(tmp_path):
    conll(tmp_path / "a_train.txt", "Anna B-PER\n\n" * 4)
    conll(tmp_path / "a_test.txt", "Rome B-LOC\n")
    with pytest.raises(InputError, match=r"test of .* has entities of a type that train never has: LOC; add such"):
        open_source(f"conll:{tmp_path / 'a_train.txt'}", kind="tags")


def test_the_kept_sentences_are_those_of_their_templates():
    assert tagged_sentences.FILE.read_text() == tagged_sentences.content()


def test_words_that_tfds_prepared(tmp_path):
    import tensorflow_datasets as tfds

    class Names(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            tags = tfds.features.ClassLabel(names=["O", "I-PER", "B-PER"])
            features = {
                "tokens": tfds.features.Sequence(tfds.features.Text()),
                "ner": tfds.features.Sequence(tags),
                "pos": tfds.features.Sequence(tags),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            rows = [(["zoé", "is", "here"], [1, 0, 0]), ([], []), (["ann", "lee"], [2, 1])]
            each = [{"tokens": words, "ner": ner, "pos": [0] * len(ner)} for words, ner in rows]
            return {name: iter(enumerate(each)) for name in ("train", "validation", "test")}

        def _generate_examples(self):
            raise NotImplementedError

    Names.name = "names"
    Names(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    train = open_source(f"tfds:names@{tmp_path}", kind="tags").splits["train"]
    found = {train.load(i): train.labels["label"][i].tolist() for i in range(len(train))}
    assert found == {("zoé", "is", "here"): [1, 0, 0], ("ann", "lee"): [1, 2, -1]}


# Tokens.

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "par", "##is", "is", "u", ".", "n")


def test_the_first_piece_bears_the_tag(tmp_path, caplog):
    found = open_source(conll(tmp_path / "a.txt", "Paris B-LOC\nis O\nU.N. B-ORG\n\n" * 8), kind="tags")
    for length, row, tags in (
        (10, [2, 4, 5, 6, 7, 8, 9, 8, 3, 0], [-1, 1, -1, 0, 3, -1, -1, -1, -1, -1]),
        (5, [2, 4, 5, 6, 3], [-1, 1, -1, 0, -1]),
    ):
        train = texts.tokenised(found, text.Text("wordpiece", PIECES, length)).splits["train"]
        assert (train.field, train.load(0).tolist(), train.labels["label"][0].tolist()) == ("tokens", row, tags)
    count = len(train)
    assert f"{count} of {count} sentences of train are longer than 5 tokens, and cut" in caplog.text
    assert f"{count} of {3 * count} words of train have no token, cut off" in caplog.text
    known = text.Text("words", ("", "[UNK]"), 2).with_words([("Paris", "U.N.")])
    assert known.vocabulary[2:] == ("paris", "u.n.")
    train = texts.tokenised(found, known).splits["train"]
    assert (train.load(0).tolist(), train.labels["label"][0].tolist()) == ([2, 1], [1, 0])


def test_a_sentence_comes_apart_as_tagged_ones_are():
    assert text.apart('Anna-Lee, of "Red Cross" (Rome), isn\'t at St.Paul.') == (
        ["Anna-Lee", ",", "of", '"', "Red", "Cross", '"', "(", "Rome", ")", ",", "isn't", "at", "St.Paul", "."]
    )


def test_states_of_words_are_those_of_shorter_sentences():
    """The state forwards at a word is the end of the sentence that ends there, and backwards of that which begins."""
    module: Any = models.make("lstm", vocabulary=9, width=3, hidden=2)
    row = [2, 5, 3, 8]
    shorter = [row, *(row[: i + 1] for i in range(4)), *(row[i:] for i in range(4))]
    rows = np.array([[*tokens, *[0] * (6 - len(tokens))] for tokens in shorter], np.int32)
    shaken = lambda leaf: leaf + 0.2 * jax.random.normal(jax.random.key(1), leaf.shape)  # noqa: E731
    variables = jax.tree.map(shaken, module.init(jax.random.key(0), rows))
    maps = module.apply(variables, rows)
    states = maps[module.token_map][0]
    assert not states[4:].any()
    np.testing.assert_allclose(states[:4, :2], maps["pooled"][1:5, :2], atol=1e-6)
    np.testing.assert_allclose(states[:4, 2:], maps["pooled"][5:, 2:], atol=1e-6)


# What does not go together.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "textcnn", "model_args": {}}, r"'textcnn' gives no features of single tokens.*bert, .*lstm"),
        ({"task": "classification", "select": ""}, "holds a tag for every word, and config.task is 'classification'"),
        ({"data": toy_settings.SENTENCES}, r"toy\.tsv' holds no tags of words, as conll:FILE does"),
        ({"target": toy.TAGS["data"]}, r"config\.target=.* does not go with config\.task='tags'"),
        ({"data": "conll:a+conll:b"}, r"config\.data='conll:a\+conll:b' does not go with config\.task='tags'"),
        ({"bottleneck.width": 4}, r"config\.bottleneck\.width=4 does not go with"),
        ({"head.maps": ("layer1",)}, r"config\.head\.maps=\('layer1',\) does not go with"),
        ({"privacy.noise": 1.0}, r"config\.privacy\.noise=1\.0 does not go with"),
        ({"label_smoothing": 0.1}, "belong to classification, not to the task 'tags'"),
        ({"labels_per_class": 3}, "need a task with classes, not tags"),
        ({"select": "val/accuracy"}, r"metric in config\.select 'val/accuracy': did you mean val/token_accuracy"),
        ({"method": "bss"}, "'bss' shrinks features of sentences"),
        ({"method": "rsc"}, "'rsc' needs one task of kind classification, not tags"),
        ({"method_args": {"mixup": 0.2}}, "is about images, and config.data holds sentences"),
    ],
)
def test_what_does_not_go_with_tags(tmp_path, changes, message):
    chosen = toy.toy_config("configs/text_tags.py", **{**toy.TAGS, **changes})
    with pytest.raises(InputError, match=message):
        build.run(chosen, tmp_path / "w", quiet=True)
    assert not (tmp_path / "w").exists()


def test_tags_are_learnt_alone(tmp_path):
    several = {**toy.TEXT, "tasks": (("words", {"kind": "tags"}),), "labels_per_class": 0}
    with pytest.raises(InputError, match=r"config\.tasks\.words\.kind='tags' is learnt alone"):
        build.run(toy.toy_config("configs/text.py", **several), tmp_path / "w", quiet=True)


def test_a_plan_counts_sentences_and_reads_their_vocabulary():
    weights = {"weights": f"file:{pathlib.Path(__file__).parent / 'golden' / 'texts' / 'bert'}", "model_args": {}}
    chosen = toy.toy_config("configs/text_tags.py", **{**toy.TAGS, **weights, "text__length": 12})
    experiment = build.experiment(chosen)
    assert plan.rows(experiment) == "sentences of 12 tokens"
    state, _ = plan.abstract_state(experiment, plan.abstract_batch(chosen, experiment.mesh))
    assert state.params["backbone"]["embeddings"]["words"]["embedding"].shape == (24, 16)
    assert plan.unweighted(chosen).weights == chosen.weights
    assert plan.unweighted(toy.toy_config(weights="bundled")).weights == "none"
