"""Networks that read tokens: transformers' answers, Kim's windows and an LSTM by hand, masks, maps to go on from."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from safetensors.numpy import load_file, save_file

from tl import build, models, optim, text, weights
from tl.errors import InputError
from tl.models.layers import Mode
from tl.weights import readers
from tl.weights import texts as vocabularies

GOLDEN = pathlib.Path(__file__).parent / "golden" / "texts"
SENTENCES = [
    "The film is good, isn't it?",
    "A dull FILM",
    "Crème brûlée!",
    ("good " * 12) + "film",
]  # as in the goldens


def tree(flat, prefix="params/backbone/"):
    return {
        "params": optim.nested(
            {path.removeprefix(prefix): leaf for path, leaf in flat.items() if path.startswith(prefix)}
        )
    }


def words_of(preprocess) -> tuple[str, ...]:
    assert isinstance(preprocess, text.Text)
    return preprocess.vocabulary


def published(name, **args) -> tuple[weights.Loaded, Any]:
    loaded = weights.load(f"file:{GOLDEN / name}", name, args)
    assert loaded is not None
    return loaded, models.make(name, **{**loaded.arguments, **args})


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_every_layer_says_what_transformers_says(name):
    loaded, module = published(name)
    answers = np.load(GOLDEN / name / "answers.npz")
    rows, cut = text.Text("wordpiece", words_of(loaded.preprocess), 12).rows(SENTENCES)
    np.testing.assert_array_equal(rows, answers["tokens"])
    assert cut == 1
    maps = module.apply(tree(loaded.flat), rows)
    there = answers["tokens"] != text.PADDING
    for i, map_name in enumerate(["embeddings", "layer1", "layer2"]):
        np.testing.assert_allclose(maps[map_name][there], answers[f"hidden{i}"][there], atol=1e-5)
        assert not maps[map_name][~there].any()
    last = answers["hidden2"] * there[:, :, None]
    np.testing.assert_allclose(maps["pooled"], last.sum(1) / there.sum(1, keepdims=True), atol=1e-5)


def test_pooler_and_first_token():
    answers = np.load(GOLDEN / "bert" / "answers.npz")
    for pool, wanted in (("pooler", answers["pooler"]), ("cls", answers["hidden2"][:, 0])):
        loaded, module = published("bert", pool=pool)
        maps = module.apply(tree(loaded.flat), answers["tokens"])
        np.testing.assert_allclose(maps["pooled"], wanted, atol=1e-5)
    with pytest.raises(InputError, match=r"model_args\.pool 'max'"):
        models.make("bert", pool="max", layers=1, width=8).init(jax.random.key(0), jnp.ones((1, 4), jnp.int32))


@pytest.mark.parametrize("name", ["bert", "textcnn", "lstm"])
def test_padding_changes_nothing_and_any_map_can_be_gone_on_from(name):
    args: dict[str, Any] = toy.TEXT["model_args"] if name == "bert" else {"width": 6}
    module: Any = models.make(name, **{"vocabulary": 20, **args})
    tokens = np.array([[3, 4, 5, 0, 0, 0], [7, 8, 9, 10, 11, 0], [1, 2, 3, 4, 5, 6]], np.int32)
    # All numbers a little off: biases begin at 0, and would hide where they act.
    shaken = lambda leaf: leaf + 0.2 * jax.random.normal(jax.random.key(1), leaf.shape)  # noqa: E731
    variables = jax.tree.map(shaken, module.init(jax.random.key(0), tokens))
    maps = module.apply(variables, tokens)
    longer = module.apply(variables, np.pad(tokens, ((0, 0), (0, 4))))
    np.testing.assert_allclose(maps["pooled"], longer["pooled"], atol=1e-6)
    assert list(maps) == list(module.feature_maps)
    for start in list(maps)[:-1]:
        on = module.apply(variables, maps[start], start=start)
        np.testing.assert_allclose(on["pooled"], maps["pooled"], atol=1e-6)


def test_windows_by_hand():
    module: Any = models.make("textcnn", vocabulary=9, width=3, sizes=(2,), features=4)
    tokens = np.array([[2, 5, 3, 8]], np.int32)
    variables = jax.device_get(module.init(jax.random.key(1), tokens))
    params = variables["params"]
    params["windows"]["conv2"]["bias"] = np.array([0.3, -0.1, 0.0, 2.0], np.float32)
    vectors = np.pad(params["embedding"]["embedding"][tokens[0]].astype(float), ((1, 1), (0, 0)))
    kernel = params["windows"]["conv2"]["kernel"].astype(float)
    seen = [vectors[i] @ kernel[0] + vectors[i + 1] @ kernel[1] for i in range(5)]
    wanted = np.maximum(np.max(seen, axis=0) + params["windows"]["conv2"]["bias"], 0)
    np.testing.assert_allclose(module.apply(variables, tokens)["pooled"][0], wanted, atol=1e-6)


def test_lstm_by_hand():
    module: Any = models.make("lstm", vocabulary=9, width=3, hidden=2)
    tokens = np.array([[2, 5, 3, 0]], np.int32)
    variables = jax.device_get(module.init(jax.random.key(1), tokens))
    vectors = variables["params"]["embedding"]["embedding"][tokens[0, :3]].astype(float)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    found = []
    for name, order in (("forwards", vectors), ("backwards", vectors[::-1])):
        p = variables["params"]["lstm"][name]
        h = c = np.zeros(2)
        for x in order:
            i, f, g, o = (x @ p[f"i{k}"]["kernel"] + h @ p[f"h{k}"]["kernel"] + p[f"h{k}"]["bias"] for k in "ifgo")
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        found.append(h)
    np.testing.assert_allclose(module.apply(variables, tokens)["pooled"][0], np.concatenate(found), atol=1e-6)


def test_bert_computes_in_other_dtypes():
    for dtype, kept in (("bfloat16", "float32"), ("float64", "float64")):
        with jax.enable_x64(dtype == "float64"):
            module: Any = models.make("bert", dtype=dtype, vocabulary=20, **toy.TEXT["model_args"])
            tokens = np.array([[3, 4, 0]], np.int32)
            variables = module.init(jax.random.key(0), tokens)
            maps = module.apply(variables, tokens, mode=Mode())
            assert {str(leaf.dtype) for leaf in jax.tree.leaves(variables)} == {kept}
            assert (maps["layer1"].dtype, maps["pooled"].dtype) == (dtype, kept)


def test_dropout_is_drawn_in_training_alone():
    module: Any = models.make("bert", vocabulary=20, **toy.TEXT["model_args"])
    tokens = np.array([[3, 4, 5]], np.int32)
    variables = module.init(jax.random.key(0), tokens)
    still = module.apply(variables, tokens)["pooled"]
    drawn = module.apply(variables, tokens, mode=Mode(train=True), rngs={"dropout": jax.random.key(1)})["pooled"]
    assert float(jnp.abs(drawn - still).max()) > 1e-3


def test_a_config_beside_the_weights_says_their_size(tmp_path):
    loaded, _ = published("bert")
    assert loaded.arguments == {
        "vocabulary": 24,
        "layers": 2,
        "width": 16,
        "heads": 4,
        "hidden": 24,
        "positions": 16,
        "types": 2,
        "epsilon": 1e-12,
    }
    folder = shutil.copytree(GOLDEN / "bert", tmp_path / "bert")
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "WordPiece", "vocab": {w: i for i, w in enumerate(words_of(loaded.preprocess))}}})
    )
    (folder / "vocab.txt").unlink()
    again = weights.load(f"file:{folder}", "bert")
    assert again is not None
    assert again.preprocess == loaded.preprocess
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {}}}))
    with pytest.raises(InputError, match="cuts words by BPE"):
        weights.load(f"file:{folder}", "bert")
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta", "hidden_act": "gelu"}))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    with pytest.raises(InputError, match="kind 'roberta'"):
        weights.load(f"file:{folder}", "bert")


def test_names_of_the_first_uploads_and_of_tasks(tmp_path):
    """gamma and beta, what guesses words, and a classifier over the pooler."""
    folder = shutil.copytree(GOLDEN / "bert", tmp_path / "bert")
    tensors = load_file(folder / "model.safetensors")
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): leaf
        for name, leaf in tensors.items()
    }
    more = {
        "cls.predictions.bias": np.zeros(24, np.float32),
        "bert.embeddings.position_ids": np.arange(16)[None],
        "classifier.weight": np.ones((3, 16), np.float32),
        "classifier.bias": np.ones(3, np.float32),
    }
    save_file(old | more, folder / "model.safetensors")
    plain, _ = published("bert", pool="pooler")
    loaded = weights.load(f"file:{folder}", "bert", {"pool": "pooler"})
    assert loaded is not None
    assert loaded.flat["params/head/kernel"].shape == (16, 3)
    for name, leaf in plain.flat.items():
        np.testing.assert_array_equal(loaded.flat[name], leaf)
    without = weights.load(f"file:{folder}", "bert")
    assert without is not None
    assert not any(name.startswith("params/head") or "pooler" in name for name in without.flat)


def test_a_vocabulary_that_does_not_fit(tmp_path):
    folder = shutil.copytree(GOLDEN / "bert", tmp_path / "bert")
    words = (folder / "vocab.txt").read_text()
    (folder / "vocab.txt").write_text(words + "more\n")
    with pytest.raises(InputError, match="has 25 words and the weights 24"):
        weights.load(f"file:{folder}", "bert")
    with pytest.raises(InputError, match="has 25 words and the weights 924"):
        vocabularies.beside(lambda name: folder / name if name == "vocab.txt" else None, 924, "file:F")
    (folder / "vocab.txt").write_text("the\nfilm\n")
    with pytest.raises(InputError, match=r"must begin with \[PAD\] and hold \[UNK\], \[CLS\], \[SEP\]"):
        weights.load(f"file:{folder}", "bert")
    (folder / "vocab.txt").unlink()
    chosen = toy.toy_config("configs/text.py", **{**toy.TEXT, "weights": f"file:{folder}", "model_args": {}})
    with pytest.raises(InputError, match=r"no vocabulary stands beside.*config\.text\.vocabulary"):
        build.experiment(chosen)
    (tmp_path / "v.txt").write_text(words + "more\n")
    with pytest.raises(InputError, match=r"the vocabulary has 25 words and the weights .* know 24"):
        build.experiment(
            toy.toy_config(
                "configs/text.py",
                **{
                    **toy.TEXT,
                    "weights": f"file:{folder}",
                    "model_args": {},
                    "text__vocabulary": str(tmp_path / "v.txt"),
                },
            )
        )


def test_a_word_may_hold_spaces_and_a_vector_be_nothing(tmp_path):
    (tmp_path / "g.txt").write_text(f". . .{' 0.5' * 9}\nfilm{' 1.0' * 9}\nplay{' 1.5' * 9}\n")
    found = readers.read_glove(tmp_path / "g.txt")
    assert list(found["words"]) == [". . .", "film", "play"]
    module: Any = models.make("lstm", vocabulary=9, width=3)
    variables = module.init(jax.random.key(0), np.ones((1, 4), np.int32))
    table = variables["params"]["embedding"]["embedding"].at[5].set(0)
    variables = {"params": {**variables["params"], "embedding": {"embedding": table}}}
    ends = [module.apply(variables, np.array([[3, 5, last]], np.int32))["pooled"] for last in (4, 6)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-6  # the last word is read behind one whose vector is 0


def test_vectors_of_words(tmp_path):
    """GloVe's own format and .npz; padding and other words come first, unknown words of training behind them."""
    rows = {"film": [0.5, 1.0, -1.0] * 3, "dull": [2.0, 0.0, 1e-2] * 3}
    (tmp_path / "g.txt").write_text("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in rows.items()))
    np.savez(tmp_path / "g.npz", words=np.array(list(rows)), vectors=np.array(list(rows.values()), np.float32))
    chosen = {**toy.WINDOWS, "model_args": {"sizes": (2,), "features": 4}}
    for name in ("g.txt", "g.npz"):
        loaded = weights.load(f"file:{tmp_path / name}", "textcnn")
        assert loaded is not None
        table = loaded.flat["params/backbone/embedding/embedding"]
        assert words_of(loaded.preprocess) == ("", "[UNK]", "film", "dull")
        np.testing.assert_allclose(table[:2], [np.zeros(9), np.mean(list(rows.values()), axis=0)])
        experiment = build.experiment(
            toy.toy_config("configs/text_cnn.py", **{**chosen, "weights": f"file:{tmp_path / name}"})
        )
        vocabulary = words_of(experiment.preprocess["backbone"])
        assert vocabulary[:4] == ("", "[UNK]", "film", "dull")
        assert len(vocabulary) > 6
        work = toy.Steps(
            toy.toy_config(
                "configs/text_cnn.py",
                **{
                    **chosen,
                    "weights": f"file:{tmp_path / name}",
                    "groups": (("backbone/embedding", None), (".*", {})),
                },
            )
        )
        work.run(2)
        end = work.host().params["backbone"]["embedding"]["embedding"]
        np.testing.assert_array_equal(end[:4], table)
        assert end[4:].var() == pytest.approx(table.var(), rel=0.5)
    with pytest.raises(InputError, match="reads pieces: take textcnn or lstm"):
        weights.load(f"file:{tmp_path / 'g.npz'}", "minilm")
    (tmp_path / "g.txt").write_text("film " + "0.5 " * 9 + "\ndull 1.0\n")
    with pytest.raises(InputError, match="no file of word vectors"):
        weights.load(f"file:{tmp_path / 'g.txt'}", "textcnn")
