"""Networks with random weights, in mmpretrain and in the released layout."""

from typing import List

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn


def convolve(width: int, out: int, kernel: int, stride: int) -> nn.Sequential:
    """A convolution and its BatchNorm."""
    conv = nn.Conv2d(width, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class ReleasedBlock(nn.Module):
    """A residual block with the released checkpoint's names."""

    def __init__(
        self, width: int, channels: int, stride: int, bottleneck: bool
    ) -> None:
        super().__init__()
        shapes = [(channels, 3, stride), (channels, 3, 1)]
        if bottleneck:
            shapes = [(channels, 1, 1), shapes[0], (4 * channels, 1, 1)]
        layers: List[nn.Module] = []
        last = width
        for out, kernel, step in shapes:
            layers += [*convolve(last, out, kernel, step), nn.ReLU()]
            last = out
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential()
        if width != last or stride > 1:
            self.shortcut = convolve(width, last, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class ReleasedResNet(nn.Module):
    """A ResNet with the released checkpoint's names, 4 channels wide."""

    def __init__(
        self,
        num_blocks: List[int],
        bottleneck: bool = True,
        pool_entry: bool = True,
    ) -> None:
        super().__init__()
        width = 4
        stem = nn.Sequential(*convolve(3, width, 7, 2), nn.ReLU())
        pool = nn.MaxPool2d(3, 2, 1)
        features = [stem, pool] if pool_entry else [stem.append(pool)]
        for stage, blocks in enumerate(num_blocks):
            channels = 4 * 2**stage
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                features.append(
                    ReleasedBlock(width, channels, stride, bottleneck)
                )
                width = channels * (4 if bottleneck else 1)
        features.append(nn.AdaptiveAvgPool2d(1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Linear(width, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def randomise(model: nn.Module) -> nn.Module:
    """No two layers alike, BatchNorm statistics included."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.num_batches_tracked.random_(1, 1000)
    return model.double().eval()


def stock_classifier(depth: int, base_channels: int = 64) -> nn.Module:
    """mmpretrain's own classifier, in float64."""
    width = dict(stem_channels=base_channels, base_channels=base_channels)
    backbone = dict(type='ResNet', depth=depth, **width)
    out = base_channels * (32 if depth >= 50 else 8)
    head = dict(type='LinearClsHead', num_classes=5, in_channels=out)
    neck = dict(type='GlobalAveragePooling')
    model = dict(type='ImageClassifier', backbone=backbone, neck=neck)
    model = MODELS.build(dict(model, head=head)).double()
    model.eval()
    return model


@pytest.fixture(scope='module')
def released() -> nn.Module:
    """A narrow ResNet-50 as the authors' code names its layers."""
    return randomise(ReleasedResNet([3, 4, 6, 3]))
