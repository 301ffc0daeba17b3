"""Devlin et al. 2019, BERT (arXiv:1810.04805), as published with Hugging Face's transformers; DistilBERT (Sanh et al.
2019, arXiv:1910.01108) is the same with half the layers and no types of token, MiniLM (Wang et al. 2020,
arXiv:2002.10957) a narrow one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tl import errors
from tl.models import names as table
from tl.models import words
from tl.models.layers import Dense, Maps, Mode, fence, remat, run
from tl.models.ops import wide
from tl.preprocess import Preprocess
from tl.text import PADDING

VARIANTS = {
    "bert": {},
    "distilbert": {"layers": 6, "types": 0},
    "minilm": {"layers": 6, "width": 384, "hidden": 1536},
}
PREPROCESS = dict.fromkeys(VARIANTS, Preprocess())
POOLS = ("mean", "cls", "pooler")


class Embeddings(nn.Module):
    """(N, L) tokens -> (N, L, width): word, place and type of each, normalised; 0 behind a sentence's end."""

    vocabulary: int
    width: int
    positions: int
    types: int
    epsilon: float
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, tokens: jax.Array, mode: Mode) -> jax.Array:
        length = tokens.shape[1]
        if length > self.positions:
            raise errors.InputError(
                f"config.text.length={length} is more than the {self.positions} places that these weights know: "
                "set it to that at most."
            )

        def rows(name: str, count: int) -> jax.Array:
            start = nn.initializers.normal(0.02)
            return Table(count, self.width, wide(self.dtype), start, name=name)()

        x = rows("words", self.vocabulary)[tokens] + rows("positions", self.positions)[None, :length]
        if self.types:
            x += rows("types", self.types)[None, :1]
        x = norm("norm", x, self.epsilon).astype(self.dtype)
        x = nn.Dropout(self.dropout, deterministic=not mode.train)(x)
        return jnp.where((tokens != PADDING)[:, :, None], x, 0)


class Table(nn.Module):
    count: int
    width: int
    dtype: Any
    start: Any

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("embedding", self.start, (self.count, self.width), self.dtype)


def norm(name: str, x: jax.Array, epsilon: float) -> jax.Array:
    """Layer norm, called within a module: parameters `scale`, `bias`."""
    return nn.LayerNorm(epsilon, param_dtype=wide(x.dtype), use_fast_variance=False, name=name)(x).astype(x.dtype)


class Attention(nn.Module):
    heads: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, there: jax.Array, mode: Mode) -> jax.Array:
        n, length, width = x.shape
        depth = width // self.heads

        def project(name: str) -> jax.Array:
            return Dense(width, name=name)(x).reshape(n, length, self.heads, depth)

        query, key, value = project("query"), project("key"), project("value")
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key).astype(wide(x.dtype)) / math.sqrt(depth)
        scores = jnp.where(there[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
        shares = nn.softmax(scores, axis=-1).astype(x.dtype)
        shares = nn.Dropout(self.dropout, deterministic=not mode.train)(shares)
        y = jnp.einsum("nhqk,nkhd->nqhd", shares, value).reshape(n, length, width)
        return Dense(width, name="out")(y)


class Adapter(nn.Module):
    """(N, L, D) -> the same and what a bottleneck says of it, nothing at first; weights from elsewhere lack it."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.gelu(Dense(self.width, name="down")(x), approximate=False)
        return x + Dense(x.shape[-1], init=nn.initializers.zeros, name="up")(y)


class Layer(nn.Module):
    """Attention, then two dense layers with GELU between, each added to what came in and normalised.

    `adapter`: the width of an adapter behind each (Houlsby et al. 2019, arXiv:1902.00751, figure 2); 0 is none.
    """

    heads: int
    hidden: int
    epsilon: float
    dropout: float
    adapter: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        there = words.mask(x)
        drop = nn.Dropout(self.dropout, deterministic=not mode.train)
        adapt = lambda name, y: Adapter(self.adapter, name=name)(y) if self.adapter else y  # noqa: E731
        y = adapt("adapter1", Attention(self.heads, self.dropout, name="attention")(x, there, mode))
        x = fence(norm("norm1", x + drop(y), self.epsilon), mode)
        y = nn.gelu(Dense(self.hidden, name="fc1")(x), approximate=False)
        y = adapt("adapter2", Dense(x.shape[-1], name="fc2")(y))
        x = fence(norm("norm2", x + drop(y), self.epsilon), mode)
        return jnp.where(there[:, :, None], x, 0)


class Pooler(nn.Module):
    """(N, L, D) -> (N, D): tanh of a dense layer over the first token."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        return jnp.tanh(Dense(x.shape[-1], name="dense")(x[:, 0]))


class Backbone(nn.Module):
    """(N, L) tokens -> maps "embeddings", "layer1", ... (N, L, width), 0 behind a sentence's end.

    `pool`: the features are the mean over tokens, the first token's ("cls") or what a layer over it says ("pooler").
    `adapter`: the width of small layers put between, in which few parameters can learn (configs/text_adapters.py).
    Dropout is drawn in every layer while training: maps of frozen layers are kept where it is 0.
    """

    reads = "tokens"

    vocabulary: int = 30522
    layers: int = 12
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    types: int = 2
    epsilon: float = 1e-12
    dropout: float = 0.1
    pool: str = "mean"
    adapter: int = 0
    dtype: str = "float32"
    remat: bool = False

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the maps in order."""
        pooler = ("pooler",) if self.pool == "pooler" else ()
        return ("embeddings", *(f"layer{i}" for i in range(1, self.layers + 1)), *pooler, "pooled")

    @property
    def token_map(self) -> str:
        """The map that says most of each token."""
        return f"layer{self.layers}"

    @property
    def stable_maps(self) -> tuple[str, ...]:
        """The maps before the first dropout."""
        return ()

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = Mode(), start: str = "") -> Maps:  # noqa: B008 (frozen)
        if self.pool not in POOLS:
            raise errors.unknown("model_args.pool", self.pool, POOLS)
        if self.width % self.heads:
            raise errors.InputError(f"model_args.heads={self.heads} does not divide width={self.width}.")
        if self.adapter < 0:
            raise errors.InputError(f"model_args.adapter={self.adapter} is no width: give 1 or more, or 0 for none.")
        mode = mode.inside(self)
        sizes = (self.vocabulary, self.width, self.positions, self.types)
        inside = (self.heads, self.hidden, self.epsilon, self.dropout, self.adapter)
        layers: list[nn.Module] = [
            Embeddings(*sizes, self.epsilon, self.dropout, self.dtype, name="embeddings"),
            *(remat(Layer, mode)(*inside, name=f"layer{i}") for i in range(1, self.layers + 1)),
        ]
        if self.pool == "pooler":
            layers.append(Pooler(name="pooler"))
        pool = {"mean": words.mean, "cls": lambda x: x[:, 0], "pooler": lambda x: x}[self.pool]
        return run(layers, x, mode, start, lambda x: pool(x.astype(wide(x.dtype))))


def names(pool: str = "mean", **_: object) -> list[table.Row]:
    """The layouts of transformers' BERT and DistilBERT, alone or below a task's head."""
    inside = r"(?:bert\.|distilbert\.)?"
    rows: list[table.Row] = [
        (rf"{inside}embeddings\.{name}_embeddings\.weight", f"params/backbone/embeddings/{ours}/embedding", table.same)
        for name, ours in (("word", "words"), ("position", "positions"), ("token_type", "types"))
    ]
    rows += _norm(rf"{inside}embeddings\.LayerNorm", "embeddings/norm")
    layer = rf"{inside}(?:encoder|transformer)\.layer\.(\d+)\."
    for name, ours in (
        (r"attention\.(?:self\.query|q_lin)", "attention/query"),
        (r"attention\.(?:self\.key|k_lin)", "attention/key"),
        (r"attention\.(?:self\.value|v_lin)", "attention/value"),
        (r"attention\.(?:output\.dense|out_lin)", "attention/out"),
        (r"(?:intermediate\.dense|ffn\.lin1)", "fc1"),
        (r"(?:output\.dense|ffn\.lin2)", "fc2"),
    ):
        rows += _dense(layer + name, ours)
    rows += _norm(layer + r"(?:attention\.output\.LayerNorm|sa_layer_norm)", "norm1")
    rows += _norm(layer + r"(?:output\.LayerNorm|output_layer_norm)", "norm2")
    # What learnt to guess words and sentences is dropped; so is a classifier that read other features than these.
    dropped = rf"{inside}embeddings\.position_ids|cls\..*|vocab_.*|pre_classifier\..*"
    if pool == "pooler":
        rows += [
            (rf"{inside}pooler\.dense\.weight", "params/backbone/pooler/dense/kernel", table.transposed),
            (rf"{inside}pooler\.dense\.bias", "params/backbone/pooler/dense/bias", table.same),
        ]
        return [*rows, *table.classifier("classifier"), (dropped, None, table.same)]
    return [*rows, (rf"{dropped}|{inside}pooler\..*|classifier\..*", None, table.same)]


def _at(ours: str, leaf: str) -> table.Target:
    """A leaf of a layer of ours, whose number is one more than that in the pattern; or one of the embeddings'."""
    if ours.startswith("embeddings"):
        return f"params/backbone/{ours}/{leaf}"

    def target(match: re.Match[str]) -> str:
        return f"params/backbone/layer{int(match[1]) + 1}/{ours}/{leaf}"

    return target


def _norm(pattern: str, ours: str) -> list[table.Row]:
    """The first uploads call scale and shift gamma and beta."""
    return [
        (rf"{pattern}\.(?:weight|gamma)", _at(ours, "scale"), table.same),
        (rf"{pattern}\.(?:bias|beta)", _at(ours, "bias"), table.same),
    ]


def _dense(pattern: str, ours: str) -> list[table.Row]:
    return [
        (rf"{pattern}\.weight", _at(ours, "kernel"), table.transposed),
        (rf"{pattern}\.bias", _at(ours, "bias"), table.same),
    ]


# transformers' words for the arguments above, BERT's and DistilBERT's.
KEYS = {
    "vocab_size": "vocabulary",
    "num_hidden_layers": "layers",
    "n_layers": "layers",
    "hidden_size": "width",
    "dim": "width",
    "num_attention_heads": "heads",
    "n_heads": "heads",
    "intermediate_size": "hidden",
    "hidden_dim": "hidden",
    "max_position_embeddings": "positions",
    "type_vocab_size": "types",
    "layer_norm_eps": "epsilon",
}


def told(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The arguments that a config.json tells; InputError for a network that this is not."""
    kind = config.get("model_type")
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    if kind not in ("bert", "distilbert") or activation != "gelu":
        raise errors.InputError(
            f"'{source}' describes a network of the kind '{kind}' with '{activation}': only bert and distilbert with "
            "gelu can be read."
        )
    own = {"types": 0} if kind == "distilbert" else {}
    return own | {ours: config[theirs] for theirs, ours in KEYS.items() if theirs in config}
