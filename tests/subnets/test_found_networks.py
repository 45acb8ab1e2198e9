"""Networks inside other modules, wrapped blocks, and blocks of one's own.

Each is run as a subnet in place, in passes that share, and exported.
"""

from collections import OrderedDict

import pytest
import torch
import torchvision.models
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    checkpoint_wrapper,
)
from torch.nn.functional import relu
from torch.optim.swa_utils import AveragedModel
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import BasicBlock

from mmst.subnets import find_backbone, find_stages
from tests.subnets.passes_apart import draw
from tests.subnets.test_families import (
    TORCH_VIT,
    check_exported,
    check_in_place,
    check_raw,
    check_shared,
)

FOUR = ('layer1', 'layer2', 'layer3', 'layer4')
RESNET = dict(
    type='mmpretrain.ResNet', depth=18, base_channels=4, stem_channels=4
)


def resnet():
    return ROOT_MODELS.build(RESNET)


def under(prefix, names=FOUR):
    return [f'{prefix}.{name}' for name in names]


def holder(**parts):
    """A module that has others under some names, and runs them."""
    return nn.Sequential(OrderedDict(parts))


def retriever():
    head = dict(type='mmpretrain.ArcFaceClsHead', num_classes=4)
    model = dict(
        type='mmpretrain.ImageToImageRetriever',
        image_encoder=[RESNET, dict(type='GlobalAveragePooling')],
        head=dict(head, in_channels=32),
        prototype=torch.rand(4, 32),
    )
    return ROOT_MODELS.build(model)


def fpn():
    features = {f'layer{i}': str(i) for i in range(1, 5)}
    widths = [64, 128, 256, 512]
    network = torchvision.models.ResNet(BasicBlock, [2, 1, 1, 1])
    return holder(backbone=BackboneWithFPN(network, features, widths, 8))


def wrap_blocks(model, names, only=None):
    """Wrap each block in PyTorch's wrapper for activation checkpointing."""
    for name in names:
        blocks = model.get_submodule(name)
        for child in only or [*blocks._modules]:
            wrapped = checkpoint_wrapper(
                getattr(blocks, child), CheckpointImpl.NO_REENTRANT
            )
            setattr(blocks, child, wrapped)
    return model


class PreActivation(BasicBlock):
    """Activations come first, and none after the sum."""

    def __init__(self, inplanes, *args):
        super().__init__(inplanes, *args)
        self.bn1 = nn.BatchNorm2d(inplanes)

    def forward(self, x):
        first = self.bn1(x).relu()
        if self.downsample is not None:
            x = self.downsample(first)
        return x + self.conv2(self.bn2(self.conv1(first)).relu())


class Own(nn.Module):
    """A network with the layout of a ResNet, of some kind of block.

    ``keep`` makes a shortcut that keeps the shape.
    """

    def __init__(self, block=BasicBlock, keep=lambda: None):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1)
        same = [block(4, 4, 1, keep()) for _ in range(3)]
        self.layer1 = nn.Sequential(*same)
        change = nn.Sequential(nn.Conv2d(4, 8, 1, 2), nn.BatchNorm2d(8))
        last = block(4, 8, 2, change), block(8, 8, 1, keep())
        self.layer2 = nn.Sequential(*last)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = self.layer2(self.layer1(relu(self.conv1(x))))
        return self.fc(relu(x).flatten(2).mean(2))


def video():
    """torchvision's blocks for clips, here of two half images."""
    module = torchvision.models.video.resnet

    def block(into, out, stride, downsample):
        if downsample is not None:
            downsample = nn.Conv3d(into, out, 1, stride)
        return module.BasicBlock(
            into, out, module.Conv3DSimple, stride, downsample
        )

    model = Own(block)
    split = nn.Unflatten(2, (2, 16))
    model.conv1 = nn.Sequential(split, nn.Conv3d(3, 4, 1))
    return model


def vit():
    options = dict(TORCH_VIT, hidden_dim=24, mlp_dim=48, num_classes=3)
    return torchvision.models.VisionTransformer(**options)


def with_output(model, name, change):
    """The model, the blocks of which are of a class that changes outputs."""
    blocks = model.get_submodule(name)

    class Changed(type(blocks[0])):
        def forward(self, x):
            return change(super().forward(x))

    for block in blocks:
        block.__class__ = Changed
    return model


def merging():
    """Let half of the tokens go on, as token merging does."""
    return with_output(
        vit(), 'encoder.layers', lambda x: x[:, : (x.shape[1] + 1) // 2]
    )


def own_layers():
    """A subclass of mmpretrain's layer, in mmpretrain's network."""
    arch = dict(embed_dims=8, num_layers=3, num_heads=2)
    arch['feedforward_channels'] = 16
    cfg = dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=32)
    return with_output(ROOT_MODELS.build(cfg), 'layers', lambda x: 2 * x)


def encoder(**options):
    """PyTorch's own TransformerEncoder, on the rows of an image."""
    layer = nn.TransformerEncoderLayer(
        32, 2, 16, dropout=0, batch_first=True, **options
    )
    flat = nn.Flatten(1, 2)
    return holder(flat=flat, trunk=nn.TransformerEncoder(layer, 3))


def mobilenet():
    return ROOT_MODELS.build(
        dict(type='mmpretrain.MobileNetV2', widen_factor=0.25)
    )


# Functions that make a model, and its lists of blocks.
MODELS = {
    'weight average': (lambda: AveragedModel(resnet()), under('module')),
    'normalisation in front': (
        lambda: nn.Sequential(nn.BatchNorm2d(3), resnet()),
        under('1'),
    ),
    'any attribute': (
        lambda: holder(student=holder(net=resnet()), head=nn.Identity()),
        under('student.net'),
    ),
    'backbone in a part': (
        lambda: holder(model=holder(backbone=resnet()), head=nn.Identity()),
        under('model.backbone'),
    ),
    'backbone.body': (fpn, under('backbone.body')),
    'image_encoder': (retriever, under('image_encoder.0')),
    'wrapped blocks of a ResNet': (lambda: wrap_blocks(resnet(), FOUR), FOUR),
    'wrapped stages of a ResNet': (
        lambda: wrap_blocks(resnet(), [''], FOUR),
        [f'{name}._checkpoint_wrapped_module' for name in FOUR],
    ),
    'wrapped blocks of a ViT': (
        lambda: wrap_blocks(vit(), ['encoder.layers']),
        ['encoder.layers'],
    ),
    'wrapped blocks of a MobileNetV2': (
        lambda: wrap_blocks(mobilenet(), ['layer2', 'layer3']),
        [f'layer{i}' for i in range(1, 8)],
    ),
    'video': (video, FOUR[:2]),
    'Identity as shortcut': (lambda: Own(keep=nn.Identity), FOUR[:2]),
    'empty Sequential': (lambda: Own(keep=nn.Sequential), FOUR[:2]),
}
# Blocks of which nobody knows what the branch alone is.
WITHOUT_RAW = {
    'pre-activation': (lambda: Own(PreActivation), FOUR[:2]),
    'token merging': (merging, ['encoder.layers']),
    'subclass in mmpretrain': (own_layers, ['layers']),
    'TransformerEncoder': (encoder, ['trunk.layers']),
    'norm first': (lambda: encoder(norm_first=True), ['trunk.layers']),
}


@pytest.mark.parametrize('name', [*MODELS, *WITHOUT_RAW])
def test_in_place_exported_and_shared(name):
    build, lists = {**MODELS, **WITHOUT_RAW}[name]
    torch.manual_seed(0)
    model = build()
    for parameter in model.parameters():  # no branch that adds nothing
        parameter.data += 0.1 * torch.randn_like(parameter)
    found = [
        [block.module for block in stage.blocks]
        for stage in find_stages(model)
    ]
    assert found == [[*model.get_submodule(name).children()] for name in lists]
    model.double().eval()  # which may return None
    images = torch.rand(2, 2, 3, 32, 32).double()
    check_in_place(model, images[0])
    small, _ = check_exported(model, images[0])
    assert len(small.state_dict()) < len(model.state_dict())
    strategies = ['ordered']
    if name in MODELS:
        strategies.append('raw')
        check_raw(model, images[0])
    else:
        with pytest.raises(ValueError, match="'raw' is not supported for"):
            draw(model, 'raw')
    model.train()
    # A stage that is checkpointed as a whole is not shared.
    shares = name != 'wrapped stages of a ResNet'
    check_shared(model, *images, runs_once=shares, strategies=strategies)


def test_networks_that_other_packages_wrap():
    timm = pytest.importorskip('timm')
    for kind in (timm.utils.ModelEmaV2, timm.utils.ModelEmaV3):
        average = kind(resnet())
        assert find_backbone(average) is average.module
    model = torchvision.models.detection.retinanet_resnet50_fpn(
        weights=None, weights_backbone=None
    )
    assert find_backbone(model) is model.backbone.body


@pytest.mark.parametrize(
    'build, paths',
    [
        (lambda: nn.ModuleList([resnet(), vit()]), '`0`, `1`'),
        (
            lambda: holder(student=resnet(), teacher=holder(model=resnet())),
            '`student`, `teacher.model`',
        ),
        (
            lambda: holder(backbone=resnet(), backbone_depth=resnet()),
            '`backbone`, `backbone_depth`',
        ),
        (
            lambda: holder(backbone_color=resnet(), backbone_depth=resnet()),
            '`backbone_color`, `backbone_depth`',
        ),
    ],
)
def test_several_networks_are_named(build, paths):
    model = build()
    for find in (find_stages, find_backbone):
        with pytest.raises(TypeError, match=f'several networks .*, {paths}: '):
            find(model)


def test_one_network_is_meant_where_others_look_alike():
    network = resnet()
    # In two places, with a part that is known, too.
    assert find_backbone(holder(model=network, same=network)) is network
    # A transformer among the other parts of a detector.
    model = holder(backbone=network, encoder=vit(), momentum=resnet())
    assert find_backbone(model) is network
    # One in its unknown backbone, which is not what it trains.
    model = holder(backbone=nn.Conv2d(3, 3, 1), teacher=network)
    with pytest.raises(TypeError, match='no residual stages found in Conv2d'):
        find_stages(model)


class Pair(nn.Module):
    """Named as PyTorch's layer, but returns a pair."""

    def forward(self, x):
        return x, x


Pair.__name__ = Pair.__qualname__ = 'TransformerEncoderLayer'


class OwnLoop(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)


def replaced(model, name, child):
    parent, _, attribute = name.rpartition('.')
    setattr(model.get_submodule(parent), attribute, child)
    return model


OTHER = nn.Sequential(nn.Linear(24, 24))


@pytest.mark.parametrize(
    'build, message',
    [
        (lambda: OwnLoop([Pair(), Pair()]), 'in OwnLoop of'),
        (
            lambda: OwnLoop(merging().encoder.layers),
            'the blocks of layers, Changed, have a forward of their own',
        ),
        (
            lambda: replaced(Own(), 'layer1.1', OTHER),
            'layer1 has Sequential beside BasicBlock',
        ),
        (
            lambda: replaced(resnet(), 'layer3', nn.ModuleList([OTHER])),
            'in ResNet of',
        ),
        (
            lambda: replaced(vit(), 'encoder.layers.encoder_layer_1', OTHER),
            'layers has Sequential beside EncoderBlock',
        ),
        (
            lambda: replaced(mobilenet(), 'layer3.1', OTHER),
            'layers has Sequential beside InvertedResidual',
        ),
    ],
)
def test_parts_of_networks_are_refused(build, message):
    message = f'no residual stages found .*{message}'
    with pytest.raises(TypeError, match=message):
        find_stages(build())
