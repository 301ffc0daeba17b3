"""Golden files for the models' tests: torch's answers to known weights and images.

The only file that knows torch. It needs torch, torchvision and timm in an environment of their own and is run by
hand, when a family is added:   python scripts/make_goldens.py [NAME ...]

Every model gets the weights of tests/golden_recipe.py, in evaluation mode. A file keeps names and shapes of the tensors
(json), the shape of the images, a few entries and the moments of every stage's map, and the logits in full.
"""

from __future__ import annotations

# pyright: reportMissingImports=false
# (torch is no dependency of this project)
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
sys.path.insert(0, str(ROOT / "tests"))
import golden_recipe as recipe  # noqa: E402
from torch_models import CifarResNet, LeNet  # noqa: E402  (first: with it torchvision can be imported)
from torchvision import models as tv  # noqa: E402

import timm  # noqa: E402  # isort: skip

CLASSES = 100


def gain(name: str) -> float:
    """Small branches keep a chain of residual blocks from exploding; plain chains need larger ones to keep going."""
    return 0.35 if name.startswith("resnet") else 1.5


Stages = dict[str, str]  # name of the map here -> torch's module whose output it is


class Same(nn.Module):
    """TensorFlow's padding in front of a convolution that has none of its own."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.size, self.stride = conv.kernel_size[0], conv.stride[0]

    def forward(self, x):
        pads = []
        for length in (x.shape[3], x.shape[2]):
            total = max((-(-length // self.stride) - 1) * self.stride + self.size - length, 0)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads)


def mobilenet_v2(same: bool) -> nn.Module:
    model = tv.mobilenet_v2(num_classes=CLASSES)
    for conv in [module for module in model.modules() if isinstance(module, nn.Conv2d)]:
        if same and conv.kernel_size[0] > 1:
            pad = Same(conv)
            conv.padding = (0, 0)
            conv.register_forward_pre_hook(lambda _, inputs, pad=pad: pad(inputs[0]))
    return model


# Hidden units of VGG in the goldens: the published 4,096 make 120 million weights and test nothing more.
HIDDEN = 64


def narrow_vgg(make: Callable[..., nn.Module]) -> nn.Module:
    model = make(init_weights=False)
    model.classifier[0] = nn.Linear(512 * 49, HIDDEN)
    model.classifier[3] = nn.Linear(HIDDEN, HIDDEN)
    model.classifier[6] = nn.Linear(HIDDEN, CLASSES)
    return model


def narrow_timm_vgg() -> nn.Module:
    model = timm.create_model("vgg16", num_classes=CLASSES)
    model.pre_logits = timm.models.vgg.ConvMlp(512, HIDDEN)
    model.head.fc = nn.Linear(HIDDEN, CLASSES)
    return model


def stages_of_vgg(model: nn.Module, features: str) -> Stages:
    pools = [i for i, layer in enumerate(model.features) if isinstance(layer, nn.MaxPool2d)]
    return {f"stage{i + 1}": f"{features}.{pool}" for i, pool in enumerate(pools)}


def bit_from_npz(path: pathlib.Path) -> nn.Module:
    """timm's model filled by timm's own reader of the authors' files."""
    model = timm.create_model("resnetv2_50x1_bit", num_classes=CLASSES)
    np.savez(
        path,
        **{name: recipe.tensor(name, shape, gain("bit")) for name, shape in bit_original_shapes().items()},
    )
    with torch.no_grad():
        model.load_pretrained(str(path))
    return model


def bit_original_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes in the authors' BiT-M-R50x1.npz, with fewer classes."""
    conv, norm = "standardized_conv2d/kernel", "group_norm"
    shapes = {f"resnet/root_block/{conv}": (7, 7, 3, 64)}
    inputs = 64
    for block, units in enumerate((3, 4, 6, 3), start=1):
        width = 64 * 2 ** (block - 1)
        for unit in range(1, units + 1):
            at = f"resnet/block{block}/unit{unit:02d}"
            if unit == 1:
                shapes[f"{at}/a/proj/{conv}"] = (1, 1, inputs, 4 * width)
            sizes = {"a": (1, 1, inputs, width), "b": (3, 3, width, width), "c": (1, 1, width, 4 * width)}
            for layer, shape in sizes.items():
                shapes[f"{at}/{layer}/{conv}"] = shape
                shapes |= {f"{at}/{layer}/{norm}/{leaf}": (shape[2],) for leaf in ("gamma", "beta")}
            inputs = 4 * width
    shapes |= {f"resnet/{norm}/{leaf}": (2048,) for leaf in ("gamma", "beta")}
    return shapes | {
        "resnet/head/conv2d/kernel": (1, 1, 2048, CLASSES),
        "resnet/head/conv2d/bias": (CLASSES,),
    }


def cases() -> dict[str, tuple[Callable[[], nn.Module], Stages | Callable[[nn.Module], Stages]]]:
    """Golden name -> (torch model, its stages)."""
    layers = {f"stage{i}": f"layer{i}" for i in range(1, 5)}
    found = {}
    for depth in (18, 34, 50, 101, 152):
        make = getattr(tv, f"resnet{depth}")
        found[f"resnet{depth}"] = (lambda make=make: make(num_classes=CLASSES), {"stem": "maxpool", **layers})
    for n in (3, 5, 7, 9, 18):
        stages = {"stem": "relu", **{k: layers[k] for k in ("stage1", "stage2", "stage3")}}
        found[f"resnet{6 * n + 2}_cifar"] = (lambda n=n: CifarResNet(n, CLASSES), stages)
    stages = {"stage1": "conv_params.2", "stage2": "conv_params.6", "fc": "fc_params.1", "pooled": "fc_params.2"}
    found["lenet"] = (lambda: LeNet(CLASSES), stages)
    tops = {"fc1": "classifier.1", "fc2": "classifier.4"}
    for name in ("vgg16", "vgg16_bn"):
        make = getattr(tv, name)
        found[name] = (
            lambda make=make: narrow_vgg(make),
            lambda model: stages_of_vgg(model, "features") | tops,
        )
    found["vgg16.timm"] = (narrow_timm_vgg, lambda model: stages_of_vgg(model, "features"))
    # the last block of each of the paper's stages, by torchvision's numbering
    ends = {f"stage{i}": f"features.{end}" for i, end in enumerate((1, 3, 6, 10, 13, 16, 17), start=1)}
    ends = {"stem": "features.0", **ends, "last": "features.18"}
    found["mobilenet_v2"] = (lambda: mobilenet_v2(same=False), ends)
    found["mobilenet_v2_tf"] = (lambda: mobilenet_v2(same=True), ends)
    stages = {"stem": "stem", **{f"stage{i + 1}": f"stages.{i}" for i in range(4)}, "final": "norm"}
    found["bit_resnet50x1.timm"] = (
        lambda: timm.create_model("resnetv2_50x1_bit", num_classes=CLASSES),
        stages,
    )
    temporary = pathlib.Path(tempfile.mkdtemp()) / "bit.npz"
    found["bit_resnet50x1"] = (lambda: bit_from_npz(temporary), stages)
    return found


def channels_last(value: torch.Tensor) -> np.ndarray:
    value = value.detach()
    if value.ndim == 4 and value.shape[2:] == (1, 1):
        value = value.flatten(1)  # timm's dense layers are 1x1 convolutions
    return (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).contiguous().numpy()


def write(name: str, model: nn.Module, stages: Stages, shapes: dict | None) -> None:
    """Run the model and keep its answers in `tests/golden/NAME.npz`."""
    if shapes is None:
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        state = {key: torch.from_numpy(recipe.tensor(key, shape, gain(name))) for key, shape in shapes.items()}
        model.load_state_dict(state)
    size = (2, 28, 28, 3) if name == "lenet" else (2, 32, 24, 3) if "cifar" in name else (2, 64, 48, 3)
    maps: dict[str, np.ndarray] = {}
    modules = dict(model.named_modules())
    for stage, module in stages.items():
        modules[module].register_forward_hook(
            lambda _module, _inputs, output, stage=stage: maps.update({stage: channels_last(output).copy()})
        )
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(recipe.image(size)).permute(0, 3, 1, 2))
    kept = {
        "logits": logits.numpy(),
        "shape": np.array(size),
        "tensors": np.array(json.dumps(shapes)),
        "gain": np.array(gain(name)),
    }
    for stage, value in maps.items():
        kept[f"{stage}.sample"] = recipe.sample(value, stage)
        kept[f"{stage}.moments"] = np.array([value.mean(), value.std(), *value.shape], np.float32)
    np.savez_compressed(GOLDEN / f"{name}.npz", **kept)
    print(f"{name}: {len(shapes)} tensors, logits {logits.std():.3f}, {(GOLDEN / f'{name}.npz').stat().st_size} bytes")


def write_layers() -> None:
    """Batch norm in training, with its gradient and running statistics, and adaptive pooling."""
    x = torch.from_numpy(recipe.image((3, 5, 9, 4))).permute(0, 3, 1, 2).requires_grad_()
    norm = nn.BatchNorm2d(4)
    norm.load_state_dict(
        {key: torch.from_numpy(recipe.tensor(key, tuple(value.shape), 1.0)) for key, value in norm.state_dict().items()}
    )
    y = norm.train()(x)
    (y**3).sum().backward()
    np.savez_compressed(
        GOLDEN / "layers.npz",
        batch_norm=channels_last(y),
        batch_norm_dx=channels_last(x.grad),
        batch_norm_dscale=norm.weight.grad.numpy(),
        batch_norm_mean=norm.running_mean.numpy(),
        batch_norm_var=norm.running_var.numpy(),
        adaptive_pool=channels_last(F.adaptive_avg_pool2d(x, 7)),
    )


def main(wanted: list[str]) -> None:
    GOLDEN.mkdir(exist_ok=True)
    write_layers()
    for name, (make, stages) in cases().items():
        if wanted and name not in wanted:
            continue
        model = make()
        stages = stages(model) if callable(stages) else stages
        write(name, model, stages, bit_original_shapes() if name == "bit_resnet50x1" else None)


if __name__ == "__main__":
    main(sys.argv[1:])
