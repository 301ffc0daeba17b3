"""How a sentence becomes the network's input: the same tokens in training, evaluation and prediction."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from tl.errors import InputError

PADDING = 0  # the token behind a sentence's end, of which a network makes nothing
KINDS = ("wordpiece", "words")
FIRST = {
    "wordpiece": ("[PAD]",),
    "words": ("", "[UNK]"),
}  # the vocabulary begins with these; the second is any other word
SPECIAL = ("[UNK]", "[CLS]", "[SEP]")
LONGEST = 512
WHOLE = 0.99  # share of sentences that a length chosen by the data leaves whole

# Contractions come apart (do n't, it 's) and , ! ? ( ) are words, as in Kim 2014 (arXiv:1408.5882); the rest is space.
WORD = re.compile(r"n't\b|'(?:s|ve|re|d|ll|m)\b|[^\W_]+?(?=n't\b)|[^\W_]+|[,!?()]")


@dataclasses.dataclass(frozen=True)
class Text:
    """`vocabulary[i]` is the spelling of token i; `kind`: BERT's pieces of words, between [CLS] and [SEP], or `words`.

    A sentence is `length` tokens: cut, or filled up with PADDING. 0: not yet known. A vocabulary of pieces without
    capital letters is one of lower case, as all published ones are.
    """

    kind: str
    vocabulary: tuple[str, ...]
    length: int = 0

    def __str__(self) -> str:
        return f"{len(self.vocabulary)} {self.kind}, {self.length or 'any number of'} tokens"

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Text:
        values = json.loads(text)
        return cls(values["kind"], tuple(values["vocabulary"]), values["length"])

    def __post_init__(self) -> None:
        first = FIRST[self.kind]
        missing = [name for name in SPECIAL if name not in self._numbers] if self.kind == "wordpiece" else []
        if self.vocabulary[: len(first)] != first or missing:
            raise InputError(
                f"a vocabulary of {len(self.vocabulary)} {self.kind} must begin with {' '.join(first)} and hold "
                f"{', '.join(missing or SPECIAL)}: name the vocab.txt that the weights were trained with."
            )

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary)}

    @functools.cached_property
    def _pieces(self):
        # Imported here: the Rust library is needed by pieces of words alone.
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        found = Tokenizer(models.WordPiece(self._numbers, unk_token="[UNK]"))  # type: ignore[call-arg]
        found.normalizer = normalizers.BertNormalizer(lowercase="A" not in self._numbers)
        found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return found

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each sentence, one at least, none of them PADDING."""
        if self.kind == "words":
            number = self._numbers
            return [[number.get(word, 1) for word in words(text)] or [1] for text in texts]
        start, end = self._numbers["[CLS]"], self._numbers["[SEP]"]
        found = self._pieces.encode_batch_fast(list(texts), add_special_tokens=False)
        return [[start, *encoded.ids, end] for encoded in found]

    def rows(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """(N, length) int32, and how many of the sentences were cut; the last piece of each stays [SEP]."""
        found = self.tokens(texts)
        rows = np.full((len(found), self.length), PADDING, np.int32)
        last = 1 if self.kind == "wordpiece" else 0
        for row, tokens in zip(rows, found, strict=True):
            if len(tokens) > self.length:
                tokens = tokens[: self.length - last] + tokens[len(tokens) - last :]
            row[: len(tokens)] = tokens
        return rows, sum(len(tokens) > self.length for tokens in found)

    def fitted(self, texts: Sequence[str]) -> Text:
        """The same with a length, a multiple of 8, that leaves WHOLE of these sentences uncut."""
        lengths = [len(tokens) for tokens in self.tokens(texts)]
        return dataclasses.replace(self, length=min(LONGEST, 8 * math.ceil(np.quantile(lengths, WHOLE) / 8)))

    def with_words(self, texts: Iterable[str]) -> Text:
        """The same and, behind it, the other words of these sentences, the frequent first."""
        counts = collections.Counter(word for text in texts for word in words(text) if word not in self._numbers)
        new = sorted(counts, key=lambda word: (-counts[word], word))
        return dataclasses.replace(self, vocabulary=(*self.vocabulary, *new))


def words(text: str) -> list[str]:
    """The lower-case words of a sentence."""
    return WORD.findall(text.lower())
