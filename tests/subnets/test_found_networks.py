"""Networks inside other modules, wrapped blocks, and blocks of one's own.

Each is run as a subnet in place, in passes that share, and exported, and held
to the same model whose lists of blocks are cut short by hand.
"""

import copy
import io
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
from torchvision.models.vision_transformer import EncoderBlock

from mmst.subnets import (
    Path,
    Subnet,
    activate,
    export_subnet,
    find_backbone,
    find_stages,
)
from mmst.subnets.cost import iter_tensors
from tests.subnets.passes_apart import apart, assert_equal, shared
from tests.subnets.test_families import draw

FOUR = ('layer1', 'layer2', 'layer3', 'layer4')


def resnet(**options):
    options = dict(depth=18, base_channels=4, stem_channels=4, **options)
    return ROOT_MODELS.build(dict(type='mmpretrain.ResNet', **options))


def under(prefix, names):
    return [f'{prefix}.{name}' for name in names]


class Holder(nn.Module):
    """Keeps a network under some name, and runs it."""

    def __init__(self, **parts):
        super().__init__()
        self.names = list(parts)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        for name in self.names:
            x = getattr(self, name)(x)
        return x


class Last(nn.Module):
    """A head on the last feature map."""

    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, features):
        return self.fc(features[-1].mean((2, 3)))


def retriever():
    return ROOT_MODELS.build(
        dict(
            type='mmpretrain.ImageToImageRetriever',
            image_encoder=[
                dict(
                    type='mmpretrain.ResNet',
                    depth=18,
                    base_channels=4,
                    stem_channels=4,
                ),
                dict(type='mmpretrain.GlobalAveragePooling'),
            ],
            head=dict(
                type='mmpretrain.ArcFaceClsHead', num_classes=4, in_channels=32
            ),
            prototype=torch.rand(4, 32),
        )
    )


def fpn():
    features = {f'layer{i}': str(i) for i in range(1, 5)}
    return Holder(
        backbone=BackboneWithFPN(
            torchvision.models.resnet18(), features, [64, 128, 256, 512], 8
        )
    )


def wrap_blocks(model, names, only=None):
    """Wrap each block in PyTorch's wrapper for activation checkpointing."""
    for name in names:
        blocks = model.get_submodule(name)
        for child in only or [*blocks._modules]:
            wrapped = checkpoint_wrapper(
                getattr(blocks, child),
                checkpoint_impl=CheckpointImpl.NO_REENTRANT,
            )
            setattr(blocks, child, wrapped)
    return model


class PostActivation(nn.Module):
    """A ResNet's block; ``empty()`` is its shortcut that keeps the shape."""

    empty = nn.Identity

    def __init__(self, into, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.downsample = self.empty() if self.empty else None
        if stride > 1 or into != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(into, out, 1, stride), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        if self.downsample is not None:
            x = self.downsample(x)
        return self.relu(branch + x)


class EmptySequential(PostActivation):
    empty = nn.Sequential


class PreActivation(PostActivation):
    """Activations come first, and none after the sum."""

    empty = None

    def __init__(self, into, out, stride):
        super().__init__(into, out, stride)
        self.bn1 = nn.BatchNorm2d(into)

    def forward(self, x):
        first = self.relu(self.bn1(x))
        if self.downsample is not None:
            x = self.downsample(first)
        return x + self.conv2(self.relu(self.bn2(self.conv1(first))))


class IResNet(PostActivation):
    """The block of face recognition: PReLU, and none after the sum."""

    empty = None

    def __init__(self, into, out, stride):
        super().__init__(into, out, stride)
        del self.relu
        self.bn0, self.prelu = nn.BatchNorm2d(into), nn.PReLU(out)

    def forward(self, x):
        branch = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        branch = self.bn2(self.conv2(branch))
        return branch + (x if self.downsample is None else self.downsample(x))


class Clip(nn.Module):
    """The block of CLIP's ModifiedResNet, with pooling for strides."""

    def __init__(self, into, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, padding=1)
        self.bn1, self.relu1 = nn.BatchNorm2d(out), nn.ReLU()
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(out, out, 1), nn.BatchNorm2d(out)
        self.relu3, self.downsample = nn.ReLU(), None
        if stride > 1 or into != out:
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ('-1', nn.AvgPool2d(stride)),
                        ('0', nn.Conv2d(into, out, 1)),
                        ('1', nn.BatchNorm2d(out)),
                    ]
                )
            )

    def forward(self, x):
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.avgpool(out)))
        if self.downsample is not None:
            x = self.downsample(x)
        return self.relu3(out + x)


class Own(nn.Module):
    """A network with the layout of a ResNet, of some kind of block."""

    def __init__(self, block):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1)
        self.layer1 = nn.Sequential(*(block(4, 4, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(block(4, 8, 2), block(8, 8, 1))
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = self.layer2(self.layer1(self.conv1(x)))
        return self.fc(relu(x).mean((2, 3)))


def video():
    """torchvision's r3d_18, which gets a clip."""
    network = torchvision.models.video.r3d_18()
    return Holder(clip=nn.Unflatten(1, (3, 1)), network=network)


def vit(**options):
    options = dict(
        image_size=32,
        patch_size=8,
        num_layers=3,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
        num_classes=3,
        **options,
    )
    return torchvision.models.VisionTransformer(**options)


class Merging(EncoderBlock):
    """As token merging makes of a block: half of the tokens go on."""

    def forward(self, input):  # noqa: A002
        out = super().forward(input)
        return out[:, : (out.shape[1] + 1) // 2]


def merging():
    model = vit()
    for block in model.encoder.layers:
        block.__class__ = Merging
    return model


class OwnLayer(
    type(
        ROOT_MODELS.build(
            dict(type='mmpretrain.VisionTransformer', img_size=32)
        ).layers[0]
    )
):
    """A subclass of mmpretrain's layer, in mmpretrain's network."""

    def forward(self, x):
        return 2 * super().forward(x)


def own_layers():
    arch = dict(
        embed_dims=8, num_layers=3, num_heads=2, feedforward_channels=16
    )
    model = ROOT_MODELS.build(
        dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=32)
    )
    for layer in model.layers:
        layer.__class__ = OwnLayer
    return model


def encoder(**options):
    """PyTorch's own TransformerEncoder, on the rows of an image."""
    layer = nn.TransformerEncoderLayer(
        32, 2, 16, dropout=0, batch_first=True, **options
    )
    flat = nn.Flatten(1, 2)
    return Holder(flat=flat, trunk=nn.TransformerEncoder(layer, 3))


def mobilenet(**options):
    return ROOT_MODELS.build(
        dict(type='mmpretrain.MobileNetV2', widen_factor=0.25)
    )


# What makes the model, its lists of blocks, how many stay, whether 'raw'
# works.
MODELS = {
    'weight average': (
        lambda: AveragedModel(resnet()),
        under('module', FOUR),
        (1, 2, 1, 1),
        True,
    ),
    'normalisation in front': (
        lambda: nn.Sequential(nn.BatchNorm2d(3), resnet()),
        under('1', FOUR),
        (1, 2, 1, 1),
        True,
    ),
    'any attribute': (
        lambda: Holder(student=Holder(net=resnet()), head=Last(32)),
        under('student.net', FOUR),
        (2, 1, 1, 2),
        True,
    ),
    'encoder': (
        lambda: Holder(encoder=resnet(out_indices=(1, 3)), decoder=Last(32)),
        under('encoder', FOUR),
        (1, 1, 2, 1),
        True,
    ),
    'backbone in a part': (
        lambda: Holder(model=Holder(backbone=resnet()), head=Last(32)),
        under('model.backbone', FOUR),
        (1, 1, 2, 1),
        True,
    ),
    'backbone.body': (fpn, under('backbone.body', FOUR), (1, 2, 1, 1), True),
    'image_encoder': (
        retriever,
        under('image_encoder.0', FOUR),
        (1, 2, 1, 1),
        True,
    ),
    'wrapped blocks of a ResNet': (
        lambda: wrap_blocks(resnet(), FOUR),
        FOUR,
        (1, 2, 1, 1),
        True,
    ),
    'wrapped stages of a ResNet': (
        lambda: wrap_blocks(resnet(), [''], FOUR),
        [f'{name}._checkpoint_wrapped_module' for name in FOUR],
        (1, 2, 1, 1),
        True,
    ),
    'wrapped blocks of a ViT': (
        lambda: wrap_blocks(vit(), ['encoder.layers']),
        ['encoder.layers'],
        (2,),
        True,
    ),
    'wrapped blocks of a MobileNetV2': (
        lambda: wrap_blocks(mobilenet(), ['layer2', 'layer3']),
        [f'layer{i}' for i in range(1, 8)],
        (1, 1, 2, 4, 3, 3, 1),
        True,
    ),
    'Identity as downsampling': (
        lambda: Own(PostActivation),
        FOUR[:2],
        (1, 1),
        False,
    ),
    'empty Sequential as downsampling': (
        lambda: Own(EmptySequential),
        FOUR[:2],
        (2, 1),
        False,
    ),
    'pre-activation': (lambda: Own(PreActivation), FOUR[:2], (1, 1), False),
    'IResNet': (lambda: Own(IResNet), FOUR[:2], (2, 1), False),
    'CLIP': (lambda: Own(Clip), FOUR[:2], (1, 1), False),
    'r3d_18': (video, under('network', FOUR), (1, 2, 1, 1), True),
    'token merging': (merging, ['encoder.layers'], (2,), False),
    'subclass in mmpretrain': (own_layers, ['layers'], (2,), False),
    'TransformerEncoder': (encoder, ['trunk.layers'], (2,), False),
    'TransformerEncoder, norm first': (
        lambda: encoder(norm_first=True),
        ['trunk.layers'],
        (1,),
        False,
    ),
}


@pytest.fixture(params=MODELS)
def case(request):
    """A model in float64, its lists, the depths, whether 'raw' works."""
    build, *rest = MODELS[request.param]
    torch.manual_seed(0)
    model = build()
    for parameter in model.parameters():  # no branch that adds nothing
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.eval()
    return (model.double(), *rest)


def cut(model, lists, depths):
    small = copy.deepcopy(model)
    for name, depth in zip(lists, depths):
        blocks = small.get_submodule(name)
        for child in [*blocks._modules][depth:]:
            # A network may count its blocks.
            if len(lists) > 1:
                delattr(blocks, child)
            else:
                setattr(blocks, child, Skipped())
    return small


class Skipped(nn.Module):
    def forward(self, x, *args, **kwargs):
        return x


def run(model, images):
    return [*iter_tensors(model(images))]


def assert_same(actual, expected):
    assert len(actual) == len(expected) > 0
    for ours, theirs in zip(actual, expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_subnet_in_place_and_exported(case):
    model, lists, depths, _ = case
    stages = find_stages(model)
    assert [len(s) for s in stages] == [
        len(model.get_submodule(name)) for name in lists
    ]
    images = torch.rand(2, 3, 32, 32).double()
    with torch.no_grad():
        full = run(model, images)
        expected = run(cut(model, lists, depths), images)
        with activate(model, depths):
            got = run(model, images)
        assert_same(got, expected)
        assert not torch.equal(got[-1], full[-1])
        assert all(map(torch.equal, run(model, images), full))
        small = export_subnet(model, depths)
        assert_same(run(small, images), expected)
    assert len(small.state_dict()) < len(model.state_dict())


def test_shared_passes_are_passes_apart(case):
    model, _, depths, _ = case
    full = [len(stage) for stage in find_stages(model)]
    subnets = [None] + [
        Subnet.ordered(some, full) for some in (depths, [1] * len(full))
    ]
    other = copy.deepcopy(model)
    model.train(), other.train()
    images = [torch.rand(2, 3, 32, 32).double()] * 3
    expected = [loss.detach() for loss in apart(other, images, subnets)]
    losses = shared(model, images, subnets)
    assert_equal(model, other, losses, expected)


def test_raw_is_right_or_refused(case):
    """A block's branch and its shortcut add up to it, before the ReLU."""
    model, lists, _, is_supported = case
    stages = find_stages(model)
    subnet = draw(stages, 'raw', seed=1)
    before = {**model.state_dict()}, [*model.named_modules()]
    images = torch.rand(2, 3, 32, 32).double()
    if not is_supported:
        with pytest.raises(ValueError, match="'raw' is not supported for"):
            with activate(model, subnet):
                pass
        return
    seen = {}

    def record(module, args, out):
        seen[module] = args[0].clone(), out.clone()

    blocks = [block for stage in stages for block in stage.blocks]
    handles = [b.module.register_forward_hook(record) for b in blocks]
    with torch.no_grad(), activate(model, subnet):
        run(model, images)
        assert [*model.state_dict()] == [*before[0]]
        assert [*model.named_modules()] == before[1]
    for handle in handles:
        handle.remove()
    with activate(model, subnet):
        copies = [copy.deepcopy(model), pickled(model)]
    with torch.no_grad():
        for copied in copies:
            assert_same(run(copied, images), run(model, images))
        for block, path in zip(blocks, sum(subnet.paths, ())):
            x, out = seen[block.module]
            inner = getattr(
                block.module, '_checkpoint_wrapped_module', block.module
            )
            shortcut = getattr(inner, 'downsample', None) or nn.Identity()
            whole, last = inner(x), getattr(inner, 'relu', nn.Identity())
            if path is Path.BRANCH and not hasattr(inner, 'relu'):
                expected = whole - (0 if block.shortcut is None else x)
            elif path is Path.BRANCH:
                expected = relu(branch_of(inner, x))
            else:
                expected = last(shortcut(x))
            assert_same([out], [expected])


def pickled(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    try:
        return torch.load(file, weights_only=False)
    except TypeError:  # an older PyTorch
        return torch.load(file)


def branch_of(block, x):
    """Output of the last norm of a ResNet's block."""
    norm = getattr(block, 'norm2', None) or getattr(block, 'bn2', None)
    norm = norm or block.conv2[1]  # of torchvision's block for clips
    outputs = []
    handle = norm.register_forward_hook(
        lambda module, args, out: outputs.append(out.clone())
    )
    block(x)
    handle.remove()
    return outputs[0]


def test_exponential_averages_of_timm():
    timm = pytest.importorskip('timm')
    for kind in (timm.utils.ModelEmaV2, timm.utils.ModelEmaV3):
        average = kind(resnet())
        assert find_backbone(average) is average.module


def test_detector_of_torchvision():
    model = torchvision.models.detection.retinanet_resnet50_fpn(
        weights=None, weights_backbone=None
    )
    assert find_backbone(model) is model.backbone.body
    assert [len(stage) for stage in find_stages(model)] == [3, 4, 6, 3]


@pytest.mark.parametrize(
    'build, paths',
    [
        (
            lambda: nn.ModuleList([resnet(), vit()]),
            '`0`, `1`',
        ),
        (
            lambda: Holder(student=resnet(), teacher=Holder(model=resnet())),
            '`student`, `teacher.model`',
        ),
        (
            lambda: Holder(backbone=resnet(), backbone_depth=resnet()),
            '`backbone`, `backbone_depth`',
        ),
        (
            lambda: Holder(backbone_color=resnet(), backbone_depth=resnet()),
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
    assert find_backbone(Holder(model=network, same=network)) is network
    # A transformer among the other parts of a detector.
    model = Holder(backbone=network, encoder=vit(), momentum=resnet())
    assert find_backbone(model) is network
    # One in its unknown backbone, which is not what it trains.
    model = Holder(backbone=nn.Conv2d(3, 3, 1), teacher=network)
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


def mixed_resnet():
    network = Own(PostActivation)
    network.layer1[1] = nn.Sequential(nn.Conv2d(4, 4, 1))
    return network


def half_resnet():
    network = resnet()
    network.layer3 = nn.ModuleList(network.layer3)
    return network


def mixed_vit():
    network = vit()
    network.encoder.layers[1] = nn.Sequential(nn.Linear(8, 8))
    return network


def mixed_mobilenet():
    network = mobilenet()
    network.layer3[1] = nn.Sequential(nn.Conv2d(8, 8, 1))
    return network


@pytest.mark.parametrize(
    'build, message',
    [
        (lambda: OwnLoop([Pair(), Pair()]), 'in OwnLoop of'),
        (
            lambda: OwnLoop(merging().encoder.layers),
            'the blocks of layers, Merging, have a forward of their own',
        ),
        (mixed_resnet, 'layer1 has Sequential beside PostActivation'),
        (half_resnet, 'in ResNet of'),
        (mixed_vit, 'layers has Sequential beside EncoderBlock'),
        (mixed_mobilenet, 'layers has Sequential beside InvertedResidual'),
    ],
)
def test_parts_of_networks_are_refused(build, message):
    with pytest.raises(
        TypeError, match='no residual stages found .*' + message
    ):
        find_stages(build())
