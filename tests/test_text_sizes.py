"""How long a table of words and a sentence may be, by the weights that are loaded."""

from __future__ import annotations

import pathlib
import shutil

import pytest
import toy

from tl import build, text, weights
from tl.errors import InputError
from tl.weights import texts as vocabularies

GOLDEN = pathlib.Path(__file__).parent / "golden" / "texts"


def test_rows_behind_the_last_word(tmp_path, caplog):
    """A table may be rounded up to whole eights, or to more; other rows are of words that the vocabulary lacks."""
    folder = shutil.copytree(GOLDEN / "bert", tmp_path / "bert")
    words = (folder / "vocab.txt").read_text().splitlines()
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words[:-1]))
    assert weights.load(f"file:{folder}", "bert") is not None
    assert "the vocabulary has 23 words and the weights 24 rows of them" in caplog.text
    for rows, count, right in ((30, 30, True), (30, 29, False), (30528, 30522, True), (30592, 30522, True)):
        assert vocabularies.fits(rows, count) is right
    for rows, count in ((40, 29), (30522, 30512), (30592, 30460), (24, 25)):
        assert not vocabularies.fits(rows, count)
    (tmp_path / "v.txt").write_text("".join(f"{word}\n" for word in words[:16]))
    (folder / "vocab.txt").unlink()
    given = {"weights": f"file:{folder}", "model_args": {}, "text__vocabulary": str(tmp_path / "v.txt")}
    with pytest.raises(InputError, match=r"the vocabulary has 16 words and the weights .* know 24"):
        build.experiment(toy.toy_config("configs/text.py", **{**toy.TEXT, **given}))


@pytest.mark.parametrize("file", ["weights", "arguments"])
def test_a_length_by_the_data_is_one_that_the_network_knows(tmp_path, caplog, file):
    long = "".join(f"{i % 2}\t{'good film ' * 12}{i}\n" for i in range(20))
    (tmp_path / "long.tsv").write_text(long)
    known = {"weights": f"file:{GOLDEN / 'bert'}", "model_args": {}} if file == "weights" else {}
    asked = {**toy.TEXT, **known, "data": f"tsv:{tmp_path / 'long.tsv'}"}
    text_of = build.experiment(toy.toy_config("configs/text.py", **asked)).preprocess["backbone"]
    assert isinstance(text_of, text.Text)
    assert text_of.length == 16
    assert "sentences of train are longer than 16 tokens, and cut" in caplog.text
