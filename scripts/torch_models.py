"""Torch's side of goldens and benchmarks: the CIFAR ResNets, which torchvision lacks, and a way to import it.

Import this before torchvision.
"""

from __future__ import annotations

# pyright: reportMissingImports=false
# (torch is no dependency of this project)
import torch
import torch.nn.functional as F
from torch import nn


def without_compiled_operators() -> None:
    """Let torchvision be imported against a torch that lacks its compiled operators: none is used here."""
    original = torch.library.register_fake

    def register_fake(op, *args, **kwargs):
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return original(op, *args, **kwargs)

    torch.library.register_fake = register_fake


without_compiled_operators()


class CifarBlock(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.missing = stride, width - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        half = self.missing // 2
        return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half)))


class CifarResNet(nn.Module):
    """Names and option-A shortcuts as in the published CIFAR-10 weights."""

    def __init__(self, blocks: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        inputs = 16
        for stage, width in enumerate((16, 32, 64), start=1):
            strides = [1 if stage == 1 else 2] + [1] * (blocks - 1)
            layers = []
            for stride in strides:
                layers.append(CifarBlock(inputs, width, stride))
                inputs = width
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class LeNet(nn.Module):
    """The digits network of the domain adaptation papers, on the mean of the channels."""

    def __init__(self, classes: int):
        super().__init__()
        first = [nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU()]
        second = [nn.Conv2d(20, 50, 5), nn.Dropout2d(0.5), nn.MaxPool2d(2), nn.ReLU()]
        self.conv_params = nn.Sequential(*first, *second)
        self.fc_params = nn.Sequential(nn.Linear(800, 500), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(500, classes)

    def forward(self, x):
        x = self.conv_params(x.mean(1, keepdim=True))
        return self.head(self.fc_params(x.flatten(1)))
