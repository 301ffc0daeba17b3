"""The pretrained weights known by name: where they are, under which licence, how their images are prepared.

The licence is the weights' own. Most were trained on ImageNet, whose images come under separate terms
(non-commercial research and education); whether those reach a network trained on them is the user's question,
so every row says the data.
"""

from __future__ import annotations

import dataclasses
import re

from tl.errors import InputError
from tl.preprocess import Preprocess

_BSD = "BSD-3-Clause"
_APACHE = "Apache-2.0"
_TORCHVISION = "https://download.pytorch.org/models/"

_V2 = Preprocess(size=224, resize=232)  # torchvision's second recipe, trained at 176 pixels
_A1 = Preprocess(size=224, resize=235)  # crop 0.95; at 288 pixels without a crop it is about a point better
_BIT = Preprocess(size=224, resize=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_BIT_FINE = Preprocess(size=448, resize=448, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@dataclasses.dataclass(frozen=True)
class Known:
    """One published set of weights for `model`.

    `sha256` is the beginning of the file's digest ("" = not known), `preprocess` None means the model's own
    default.
    """

    model: str
    source: str
    licence: str
    data: str = "ImageNet-1k (separate terms)"
    sha256: str = ""
    preprocess: Preprocess | None = None


def _torchvision(model: str, digest: str, preprocess: Preprocess | None = None) -> Known:
    return Known(model, f"{_TORCHVISION}{model}-{digest}.pth", _BSD, sha256=digest, preprocess=preprocess)


# The first row of a model is its default. Recipes: tv = torchvision's first weights, tv2 = its second, a1 =
# "ResNet strikes back" (Wightman et al., 2021); digests from the hub's pages and, for torchvision's URLs,
# from the file name.
TABLE: tuple[Known, ...] = (
    Known("resnet18", "hf:timm/resnet18.tv_in1k", _BSD, sha256="694f673df6520a31"),
    Known("resnet34", "hf:timm/resnet34.tv_in1k", _BSD),
    Known("resnet50", "hf:timm/resnet50.tv_in1k", _BSD, sha256="5d061a3c593d795b"),
    Known("resnet101", "hf:timm/resnet101.tv_in1k", _BSD),
    Known("resnet152", "hf:timm/resnet152.tv_in1k", _BSD),
    Known("vgg16", "hf:timm/vgg16.tv_in1k", _BSD),
    Known("vgg16_bn", "hf:timm/vgg16_bn.tv_in1k", _BSD, sha256="88bbedbc8e780413"),
    _torchvision("mobilenet_v2", "b0353104"),
    Known(
        "bit_resnet50x1",
        "hf:timm/resnetv2_50x1_bit.goog_in21k",
        _APACHE,
        data="ImageNet-21k (separate terms)",
        preprocess=_BIT,
    ),
    Known(
        "resnet20_cifar",
        "bundled",
        _APACHE,
        data="letters and digits rendered from fonts; no third-party images",
    ),
    Known("minilm", "hf:sentence-transformers/all-MiniLM-L6-v2", _APACHE, data="a billion pairs of sentences"),
    Known("bert", "hf:google-bert/bert-base-uncased", _APACHE, data="Wikipedia and BookCorpus"),
    Known("distilbert", "hf:distilbert/distilbert-base-uncased", _APACHE, data="Wikipedia and BookCorpus"),
    Known("resnet18", "hf:timm/resnet18.a1_in1k", _APACHE, sha256="80c49dee3da4822c", preprocess=_A1),
    Known("resnet34", "hf:timm/resnet34.a1_in1k", _APACHE, preprocess=_A1),
    Known("resnet50", "hf:timm/resnet50.a1_in1k", _APACHE, sha256="773525d5821de224", preprocess=_A1),
    Known("resnet101", "hf:timm/resnet101.a1_in1k", _APACHE, sha256="1ba5b660e7c175b3", preprocess=_A1),
    Known("resnet152", "hf:timm/resnet152.a1_in1k", _APACHE, preprocess=_A1),
    Known("resnet50", "hf:timm/resnet50.tv2_in1k", _BSD, preprocess=_V2),
    Known("resnet101", "hf:timm/resnet101.tv2_in1k", _BSD, preprocess=_V2),
    Known("resnet152", "hf:timm/resnet152.tv2_in1k", _BSD, preprocess=_V2),
    Known(
        "bit_resnet50x1",
        "hf:timm/resnetv2_50x1_bit.goog_in21k_ft_in1k",
        _APACHE,
        data="ImageNet-21k, then ImageNet-1k (separate terms)",
        preprocess=_BIT_FINE,
    ),
    _torchvision("resnet18", "f37072fd"),
    _torchvision("resnet34", "b627a593"),
    _torchvision("resnet50", "0676ba61"),
    _torchvision("resnet101", "63fe2227"),
    _torchvision("resnet152", "394f9c45"),
    _torchvision("resnet50", "11ad3fa6", _V2),
    _torchvision("resnet101", "cd907fc2", _V2),
    _torchvision("resnet152", "f82ba261", _V2),
    _torchvision("vgg16", "397923af"),
    _torchvision("vgg16_bn", "6c64b313"),
)

KNOWN: dict[str, Known] = {row.model: row for row in reversed(TABLE)}


def default(model: str) -> Known:
    """The row that the specs "" and "known" mean for this model; InputError if there is none."""
    if model not in KNOWN:
        raise InputError(
            f"no pretrained weights are known for the model '{model}': give weights as file:PATH, "
            "run:DIRECTORY or "
            f"hf:ORG/NAME, or 'none' for random ones (known: {', '.join(sorted(KNOWN))})."
        )
    return KNOWN[model]


def of_source(source: str) -> Known | None:
    """The row of a source, or None; a revision (`hf:ORG/NAME@REVISION`) or digest behind it is no matter."""
    bare = source.partition("#")[0] if source.startswith("https:") else re.sub(r"@[^:]+$", "", source)
    return next((row for row in TABLE if row.source == bare), None)
