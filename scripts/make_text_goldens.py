"""Golden folders for the tests of text: what transformers makes of small random networks and of sentences.

Needs torch and transformers in an environment of their own and is run by hand:   python scripts/make_text_goldens.py

A folder of tests/golden/texts is as the hub's are, config.json, model.safetensors and vocab.txt, with answers.npz: the
tokens of SENTENCES, and for these every layer's output and what the pooler says.
"""

from __future__ import annotations

# pyright: reportMissingImports=false
# (torch and transformers are no dependencies of this project)
import json
import pathlib

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "texts"
SENTENCES = ["The film is good, isn't it?", "A dull FILM", "Crème brûlée!", ("good " * 12) + "film"]
LENGTH = 12
PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "is", "isn", "'", "t", "it", "a", "dull", "good"),
    *("creme", "bru", "##lee", "##s", ",", "?", "!", ".", "x"),
]
COMMON = {"vocab_size": len(PIECES), "initializer_range": 0.3, "max_position_embeddings": 16}


def bert() -> torch.nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    return BertModel(BertConfig(**COMMON, **sizes))


def distilbert() -> torch.nn.Module:
    return DistilBertForSequenceClassification(DistilBertConfig(**COMMON, dim=16, n_layers=2, n_heads=2, hidden_dim=24))


def main() -> None:
    torch.manual_seed(0)
    for name, make in (("bert", bert), ("distilbert", distilbert)):
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        model = make().eval()
        with torch.no_grad():
            for leaf in model.parameters():
                # Biases and scales begin as 0 and 1, which would hide one that is missing.
                if leaf.ndim == 1:
                    leaf += 0.2 * torch.randn(leaf.shape)
        model.save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
        tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
        read = tokenizer(SENTENCES, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
        inputs = {"input_ids": read["input_ids"], "attention_mask": read["attention_mask"]}
        inside = model if name == "bert" else model.distilbert
        with torch.no_grad():
            out = inside(**inputs, output_hidden_states=True)
        kept = {f"hidden{i}": state.numpy() for i, state in enumerate(out.hidden_states)}
        if name == "bert":
            kept["pooler"] = out.pooler_output.numpy()
        np.savez_compressed(folder / "answers.npz", tokens=read["input_ids"].numpy(), **kept)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{name}: {json.dumps(inputs['input_ids'].tolist())}, {size} bytes")


if __name__ == "__main__":
    main()
