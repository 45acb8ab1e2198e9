"""Networks with random weights, in mmpretrain and in the released layout."""

from typing import List

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn


class ReleasedBlock(nn.Module):
    """A residual block with the released checkpoint's names."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, bottleneck: bool
    ) -> None:
        super().__init__()
        if bottleneck:
            shapes = [
                (channels, 1, 1),
                (channels, 3, stride),
                (4 * channels, 1, 1),
            ]
        else:
            shapes = [(channels, 3, stride), (channels, 3, 1)]
        layers: List[nn.Module] = []
        width = in_channels
        for out_channels, kernel, step in shapes:
            layers += [
                nn.Conv2d(
                    width, out_channels, kernel, step, kernel // 2, bias=False
                ),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(),
            ]
            width = out_channels
        self.body = nn.Sequential(*layers[:-1])
        if in_channels != width or stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, width, 1, stride, bias=False),
                nn.BatchNorm2d(width),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x) if hasattr(self, 'shortcut') else x
        return torch.relu(self.body(x) + shortcut)


class ReleasedResNet(nn.Module):
    """A ResNet with the released checkpoint's names."""

    def __init__(
        self,
        num_blocks: List[int],
        bottleneck: bool = True,
        base_channels: int = 4,
        num_classes: int = 5,
        pool_entry: bool = True,
    ) -> None:
        super().__init__()
        stem = [
            nn.Conv2d(3, base_channels, 7, 2, 3, bias=False),
            nn.BatchNorm2d(base_channels),
            nn.ReLU(),
        ]
        pool = nn.MaxPool2d(3, 2, 1)
        features = (
            [nn.Sequential(*stem), pool]
            if pool_entry
            else [nn.Sequential(*stem, pool)]
        )
        width = base_channels
        for stage, blocks in enumerate(num_blocks):
            channels = base_channels * 2**stage
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                features.append(
                    ReleasedBlock(width, channels, stride, bottleneck)
                )
                width = channels * (4 if bottleneck else 1)
        features.append(nn.AdaptiveAvgPool2d(1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Linear(width, num_classes))

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


def stock_classifier(
    depth: int, num_classes: int = 5, **backbone
) -> nn.Module:
    """mmpretrain's own classifier, in float64."""
    backbone.setdefault('base_channels', 64)
    width = backbone['base_channels'] * (32 if depth >= 50 else 8)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='ResNet',
                depth=depth,
                stem_channels=backbone['base_channels'],
                **backbone,
            ),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=num_classes,
                in_channels=width,
            ),
        )
    )
    model.double().eval()
    return model


@pytest.fixture
def released() -> nn.Module:
    """A narrow ResNet-50 as the authors' code names its layers."""
    return randomise(ReleasedResNet([3, 4, 6, 3]))
