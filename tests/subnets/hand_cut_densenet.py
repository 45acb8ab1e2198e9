"""Tiny DenseNets, and by hand what they compute without some layers.

The channels of these layers' features are taken out of every norm,
convolution and linear layer that follows.
"""

import pytest
import torch
import torch.nn.functional as F
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


def subnet_of(kept):
    return Subnet(
        tuple(
            tuple(Path.BOTH if i in keep else Path.SHORTCUT for i in range(n))
            for keep, n in zip(kept, DEPTHS)
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


def logits(model, image):
    if hasattr(model, 'backbone'):
        return model(image, mode='tensor')
    return model(image)


def layout(model):
    """The stem's layers, dense blocks, transitions, last norm, classifier."""
    if hasattr(model, 'backbone'):
        net = model.backbone
        blocks = [stage.block for stage in net.stages]
        *transitions, last = net.transitions
        return [net.stem], blocks, transitions, last[0], model.head.fc
    net = dict(model.features.named_children())
    blocks = [net.pop(f'denseblock{i}') for i in (1, 2, 3)]
    transitions = [net.pop(f'transition{i}') for i in (1, 2)]
    last = net.pop('norm5')
    return net.values(), blocks, transitions, last, model.classifier


def run_norm(norm, channels, x, times=1):
    """Run a norm layer that has these channels alone, then a ReLU.

    Gradient checkpointing runs one ``times=2``.
    """
    small = type(norm)(
        len(channels),
        momentum=norm.momentum,
        affine=norm.affine,
        track_running_stats=norm.track_running_stats,
    ).double()
    small.train(norm.training)
    for name in ('weight', 'bias') if norm.affine else ():
        del small._parameters[name]
        setattr(small, name, getattr(norm, name)[channels])
    running = ('running_mean', 'running_var')
    for name in running if norm.track_running_stats else ():
        getattr(small, name).copy_(getattr(norm, name)[channels])
    for _ in range(times):
        out = small(x)
    if norm.track_running_stats and norm.training:
        norm.num_batches_tracked += small.num_batches_tracked
        for name in running:
            getattr(norm, name)[channels] = getattr(small, name)
    return out.relu()


def features_without(model, kept, image):
    """Feature map of the network without the other layers, and its channels.

    Gradients reach the model's parameters, and its statistics are updated.
    """
    stem, blocks, transitions, last, _ = layout(model)
    for layer in stem:
        image = layer(image)
    for block, keep, after in zip(blocks, kept, [*transitions, None]):
        width, features = image.shape[1], [image]
        channels = [*range(width)]
        for index in keep:
            layer = [*block.children()][index]
            efficient = ('memory_efficient', 'grad_checkpointing')  # timm's
            times = 1 + any(getattr(layer, name, False) for name in efficient)
            x = run_norm(layer.norm1, channels, torch.cat(features, 1), times)
            x = F.conv2d(x, layer.conv1.weight[:, channels])
            features.append(layer.conv2(layer.norm2(x).relu()))
            channels += range(width + 4 * index, width + 4 * index + 4)
        image = torch.cat(features, 1)
        if after is not None:
            image = run_norm(after.norm, channels, image)
            image = F.conv2d(image, after.conv.weight[:, channels])
            image = F.avg_pool2d(image, 2)
    return run_norm(last, channels, image), channels


def logits_without(model, kept, image):
    features, channels = features_without(model, kept, image)
    linear = layout(model)[-1]
    weight = linear.weight[:, channels]
    return F.linear(features.mean((2, 3)), weight, linear.bias)
