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


# As it was written, or as its words: these are then taken as they are.
Sentence = str | Sequence[str]


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

    def tokens(self, texts: Sequence[Sentence]) -> list[list[int]]:
        """The tokens of each sentence, one at least, none of them PADDING."""
        if self.kind == "words":
            number = self._numbers
            return [[number.get(word, 1) for word in words(text)] or [1] for text in texts]
        start, end = self._numbers["[CLS]"], self._numbers["[SEP]"]
        parted = not all(isinstance(text, str) for text in texts)
        found = self._pieces.encode_batch_fast(list(texts), is_pretokenized=parted, add_special_tokens=False)
        return [[start, *encoded.ids, end] for encoded in found]

    def rows(self, texts: Sequence[Sentence]) -> tuple[np.ndarray, int]:
        """(N, length) int32, and how many of the sentences were cut; the last piece of each stays [SEP]."""
        found = self.tokens(texts)
        return self._cut(found, PADDING), sum(len(tokens) > self.length for tokens in found)

    def words_at(self, sentences: Sequence[Sequence[str]]) -> np.ndarray:
        """(N, length) int32 beside `rows`: the number of the word whose first token stands there, else -1."""
        if self.kind == "words":
            return self._cut([list(range(len(sentence))) for sentence in sentences], -1)
        encoded = self._pieces.encode_batch(list(sentences), is_pretokenized=True, add_special_tokens=False)
        return self._cut([[-1, *begun(found.word_ids), -1] for found in encoded], -1)

    def _cut(self, found: Sequence[list[int]], nothing: int) -> np.ndarray:
        rows = np.full((len(found), self.length), nothing, np.int32)
        last = 1 if self.kind == "wordpiece" else 0
        for row, tokens in zip(rows, found, strict=True):
            if len(tokens) > self.length:
                tokens = tokens[: self.length - last] + tokens[len(tokens) - last :]
            row[: len(tokens)] = tokens
        return rows

    def fitted(self, texts: Sequence[Sentence], whole: float = WHOLE, most: int = LONGEST) -> Text:
        """The same with a length, a multiple of 8 or `most`, that leaves the share `whole` of these sentences uncut."""
        lengths = [len(tokens) for tokens in self.tokens(texts)]
        return dataclasses.replace(self, length=min(most, LONGEST, 8 * math.ceil(np.quantile(lengths, whole) / 8)))

    def with_words(self, texts: Iterable[Sentence]) -> Text:
        """The same and, behind it, the other words of these sentences, the frequent first."""
        counts = collections.Counter(word for text in texts for word in words(text) if word not in self._numbers)
        new = sorted(counts, key=lambda word: (-counts[word], word))
        return dataclasses.replace(self, vocabulary=(*self.vocabulary, *new))


def begun(words: Sequence[int | None]) -> list[int]:
    """The number of each piece's word -> the same, -1 for pieces that do not begin it."""
    return [-1 if word is None or word == before else word for before, word in zip((None, *words), words, strict=False)]


def words(text: Sentence) -> list[str]:
    """The lower-case words of a sentence."""
    return WORD.findall(text.lower()) if isinstance(text, str) else [word.lower() for word in text]


def apart(text: str) -> list[str]:
    """The words of a sentence as they are tagged: by blanks, and punctuation at a word's ends by itself."""
    return re.findall(r"\w(?:\S*\w)?|[^\w\s]", text)
