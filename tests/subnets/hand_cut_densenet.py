"""Tiny DenseNets, and the networks one gets by cutting them by hand.

Layers are removed, and the channels of their features are taken out of every
norm, convolution and linear layer that follows.
"""

import copy

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from mmst.subnets import Path, Subnet

DEPTHS = (3, 4, 3)
ARCH = dict(growth_rate=4, depths=list(DEPTHS), init_channels=8)
# Indices of the layers that run, for each dense block.
ORDERED = ([0], [0, 1], [0, 1])
STOCHASTIC = ([0, 2], [0, 1, 3], [0, 2])
MIDDLE_ONLY = ([0, 1, 2], [0], [0, 1, 2])
ALL = tuple(list(range(n)) for n in DEPTHS)
KEPT = [ORDERED, STOCHASTIC, MIDDLE_ONLY, ALL]


def subnet_of(kept, depths=DEPTHS):
    return Subnet(
        tuple(
            tuple(Path.BOTH if i in keep else Path.SHORTCUT for i in range(n))
            for keep, n in zip(kept, depths)
        )
    )


def randomize(model):
    """Norm layers that are no identity, and biases that are not zero."""
    for module in model.modules():
        if isinstance(module, _NormBase):
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
            if module.track_running_stats:
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.double()


def mmpretrain_densenet(**options):
    torch.manual_seed(0)
    return randomize(
        ROOT_MODELS.build(
            dict(
                type='mmpretrain.ImageClassifier',
                backbone=dict(type='DenseNet', arch=ARCH, **options),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=5, in_channels=25),
            )
        )
    )


def torchvision_densenet(**options):
    densenet = pytest.importorskip('torchvision.models.densenet')
    torch.manual_seed(0)
    return randomize(densenet.DenseNet(4, DEPTHS, 8, num_classes=5, **options))


def timm_densenet(**options):
    densenet = pytest.importorskip('timm.models.densenet')
    torch.manual_seed(0)
    return randomize(densenet.DenseNet(4, DEPTHS, num_classes=5, **options))


def layout(model):
    """Dense blocks, transitions between them, last norm and linear layer."""
    if hasattr(model, 'backbone'):
        net = model.backbone
        return (
            [stage.block for stage in net.stages],
            net.transitions[:-1],
            net.transitions[-1][0],
            model.head.fc,
        )
    net = model.features
    return (
        [net.denseblock1, net.denseblock2, net.denseblock3],
        [net.transition1, net.transition2],
        net.norm5,
        model.classifier,
    )


class Cut:
    """A model cut by hand.

    Attributes:
        model: The small network.
        tensors: Its parameters and buffers, by their names in the whole one.
        places: For those that lost channels: dimension, channels kept.
        removed: Names of the layers left out.
    """

    def __init__(self, whole, kept):
        self.model = copy.deepcopy(whole)
        self.names = {m: name for name, m in self.model.named_modules()}
        self.places, self.removed = {}, []
        blocks, transitions, last, linear = layout(self.model)
        left_out = []
        for block, keep, after in zip(blocks, kept, [*transitions, None]):
            layers = list(block.named_children())
            width = layers[0][1].norm1.num_features
            self.channels = list(range(width))
            for index, (name, layer) in enumerate(layers):
                if index in keep:
                    self.shrink(layer.norm1, layer.conv1)
                    start = width + index * 4
                    self.channels += range(start, start + 4)
                else:
                    left_out.append((block, name))
                    self.removed.append(self.names[layer] + '.')
            if after is not None:
                self.shrink(after.norm, after.conv)
        self.shrink(last, linear)
        self.tensors = dict(self.model.named_parameters())
        self.tensors.update(self.model.named_buffers())
        for block, name in reversed(left_out):
            del block[int(name) if isinstance(block, nn.ModuleList) else name]

    def shrink(self, norm, following):
        """Take out all channels of a norm, and inputs of what follows it."""
        norm.num_features = len(self.channels)
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            if getattr(norm, name) is not None:
                self.select(norm, name, 0)
        self.select(following, 'weight', 1)

    def select(self, module, name, dim):
        tensor = getattr(module, name)
        index = torch.tensor(self.channels)
        small = tensor.detach().index_select(dim, index)
        setattr(
            module,
            name,
            nn.Parameter(small) if isinstance(tensor, nn.Parameter) else small,
        )
        self.places[f'{self.names[module]}.{name}'] = dim, index

    def assert_same(self, name, ours, expected, rest):
        """Compare the whole network's tensor with the small one's.

        Args:
            name: The tensor's name in the whole network.
            ours: The whole network's.
            expected: The small network's.
            rest: What the whole one's is, where the small one has nothing.
        """
        if name.startswith(tuple(self.removed)):
            expected = rest
        elif name in self.places:
            expected = rest.index_copy(*self.places[name], expected)
        torch.testing.assert_close(
            ours,
            expected,
            rtol=1e-10,
            atol=1e-10,
            msg=lambda text: f'{name}: {text}',
        )


def logits(model, image):
    if hasattr(model, 'backbone'):
        return model(image, mode='tensor')
    return model(image)
