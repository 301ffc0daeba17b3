"""Torch's side of scripts/bench.py: channels_last, inputs already normalised, the faster of eager and compiled.

python scripts/bench_torch.py WORK JSON-OPTIONS   (started by bench.py, in an environment with torch and torchvision)
"""

from __future__ import annotations

# pyright: reportMissingImports=false
# (torch is no dependency of this project)
import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

import bench_works as bench
import torch
import torch.nn.functional as F
from torch_models import CifarResNet
from torchvision import models as tv


def main(name: str, options: dict[str, Any]) -> None:
    torch.set_num_threads(options["threads"])
    work = dataclasses.replace(bench.ALL[name], **options.get("change", {}))
    if work.kind == "peak":
        bench.serve(lambda: (lambda: peak(work.dtype), {}))
        return
    if work.kind == "start":
        network = model(work)
        network.load_state_dict(torch.load(options["weights"]))
        trainer(work, network, lambda f: f)()
        print(json.dumps({"ready": True}), flush=True)
        return
    if work.kind == "loader":
        bench.serve(lambda: loader(work, options))
        return
    bench.serve(lambda: fastest(work, options["forms"]))


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def model(work: bench.Work) -> torch.nn.Module:
    network = (
        CifarResNet(9, work.classes)
        if work.model == "resnet56_cifar"
        else getattr(tv, work.model)(num_classes=work.classes)
    )
    return network.to(device(), memory_format=torch.channels_last)


def inputs(work: bench.Work) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(work.batch, 3, work.size, work.size).to(device(), memory_format=torch.channels_last)
    return x, torch.randint(work.classes, (work.batch,), device=device())


def fastest(work: bench.Work, forms: list[str]) -> tuple[Callable[[], float], dict]:
    """The fastest of `forms` (eager, compile), each warmed up and tried three times."""
    made = {}
    for form in forms:
        wrap = torch.compile if form == "compile" else (lambda f: f)
        kinds = {"finetune": trainer, "inference": predictor, "stage4": partly_frozen, "probe": frozen}
        one = kinds[work.kind](work, model(work), wrap)
        repeat = 2 if work.kind == "probe" else work.repeat  # a probe that computes its features anew at every step

        def call(one: Callable[[], None] = one, repeat: int = repeat) -> None:
            for _ in range(repeat):
                one()
            if device() == "cuda":
                torch.cuda.synchronize()

        images = work.batch * repeat
        call()
        call()
        best = max(bench.rate(images, call) for _ in range(3 if len(forms) > 1 else 1))
        made[form] = (best, lambda call=call, images=images: bench.rate(images, call))
    form = max(made, key=lambda form: made[form][0])
    notes = {"form": form}
    if device() == "cuda":
        notes["device_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return made[form][1], notes


def cast(work: bench.Work) -> Any:
    return torch.autocast(device(), torch.bfloat16, enabled=work.dtype == "bfloat16")


def predictor(work: bench.Work, network: Any, wrap: Callable) -> Callable[[], None]:
    x, _ = inputs(work)
    forward = wrap(network.eval())

    def one() -> None:
        with torch.inference_mode(), cast(work):
            forward(x)

    return one


def trainer(work: bench.Work, network: Any, wrap: Callable) -> Callable[[], None]:
    x, y = inputs(work)
    forward = wrap(network.train())
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 1e-3, momentum=0.9)

    def one() -> None:
        optimizer.zero_grad(set_to_none=True)
        with cast(work):
            loss = F.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()

    return one


def partly_frozen(work: bench.Work, network: Any, wrap: Callable) -> Callable[[], None]:
    """Stages 1 to 3 frozen, in evaluation mode and without gradients; stage 4 and the head train."""
    network.requires_grad_(False)
    for part in (network.layer4, network.fc):
        part.requires_grad_(True)
    stem = torch.nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    fixed = torch.nn.Sequential(stem, network.layer1, network.layer2, network.layer3)

    class Split(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fixed, self.layer4, self.fc = fixed, network.layer4, network.fc

        def train(self, mode: bool = True) -> Split:
            super().train(mode)
            self.fixed.eval()
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                x = self.fixed(x)
            return self.fc(self.layer4(x).mean((2, 3)))

    return trainer(work, Split(), wrap)


def frozen(work: bench.Work, network: Any, wrap: Callable) -> Callable[[], None]:
    """A new head on a frozen backbone that runs at every step."""
    network.requires_grad_(False)
    head, network.fc = network.fc.requires_grad_(True), torch.nn.Identity()
    x, y = inputs(work)
    forward = wrap(network.eval())
    optimizer = torch.optim.SGD(head.parameters(), 1e-3, momentum=0.9)

    def one() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            features = forward(x)
        F.cross_entropy(head(features), y).backward()
        optimizer.step()

    return one


def loader(work: bench.Work, options: dict) -> tuple[Callable[[], float], dict]:
    """torchvision's folder, transforms and DataLoader as in its ImageNet example, at the best number of workers."""
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(work.size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    folder = datasets.ImageFolder(options["images"], transforms.Compose(steps))
    made = {}
    for workers in (0, options["threads"]):
        data = torch.utils.data.DataLoader(
            folder, work.batch, shuffle=True, num_workers=workers, persistent_workers=bool(workers), drop_last=True
        )

        def endless(data: Any = data) -> Any:
            while True:
                yield from data

        source = endless()

        def call(source: Any = source) -> None:
            for _ in range(work.repeat):
                next(source)

        call()
        made[workers] = (max(bench.rate(work.batch * work.repeat, call) for _ in range(2)), call)
    workers = max(made, key=lambda n: made[n][0])
    return lambda: bench.rate(work.batch * work.repeat, made[workers][1]), {"form": f"{workers} workers"}


def peak(dtype: str, n: int = 4096) -> float:
    x = torch.randn(n, n, device=device(), dtype=getattr(torch, dtype))

    def product() -> None:
        torch.mm(x, x)
        if device() == "cuda":
            torch.cuda.synchronize()

    product()
    return bench.rate(2 * n**3, product)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
