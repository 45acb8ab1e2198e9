"""Every network family, in its real class: in place, shared, exported."""

import copy
import io
from itertools import count

import pytest
import torch
import torchvision.models
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn
from torchvision.models.convnext import CNBlockConfig

from mmst.subnets import (
    Path,
    activate,
    count_flops,
    export_subnet,
    find_backbone,
    find_stages,
    measure_cost,
)
from mmst.subnets.cost import iter_tensors
from mmst.subnets.stages import unwrap_block
from tests.subnets.passes_apart import (
    apart,
    assert_equal,
    count_calls,
    cut,
    draw,
    names_of_skipped,
    num_distinct,
    shared,
    some_passes,
    train_without_chance,
)

NARROW = dict(base_channels=8, stem_channels=8)
CHANNELS = dict(channels=(8, 16, 24, 32))
CONVNEXT = dict(dims=(8, 16, 24, 32))
VIT = dict(img_size=32, embed_dim=24, num_heads=3)
SWIN = dict(img_size=64, embed_dim=24)


def timm(name, **options):
    return 'mmpretrain.TIMMBackbone', dict(
        model_name=name, pretrained=False, **options
    )


# Full name, options, image size, blocks of each stage.
RESNETS = [
    ('mmpretrain.ResNet', dict(depth=18, **NARROW), 32, (2, 2, 2, 2)),
    ('mmpretrain.ResNet', dict(depth=50, **NARROW), 32, (3, 4, 6, 3)),
    ('mmpretrain.ResNet_CIFAR', dict(depth=18, **NARROW), 16, (2, 2, 2, 2)),
    ('mmst.CIFARResNet', dict(depth=20), 16, (3, 3, 3)),
    ('mmpretrain.RegNet', dict(arch='regnetx_400mf'), 32, (1, 2, 7, 12)),
    ('mmdet.RegNet', dict(arch='regnetx_400mf'), 32, (1, 2, 7, 12)),
    ('torchvision.resnet18', {}, 32, (2, 2, 2, 2)),
    ('torchvision.resnet50', dict(width_per_group=4), 32, (3, 4, 6, 3)),
    (*timm('resnet18', **CHANNELS), 32, (2, 2, 2, 2)),
    (*timm('resnet18', features_only=True), 32, (2, 2, 2, 2)),
    (*timm('resnet50d', **CHANNELS), 32, (3, 4, 6, 3)),
    (*timm('seresnet50', **CHANNELS), 32, (3, 4, 6, 3)),
    (*timm('res2net50_26w_4s', **CHANNELS), 32, (3, 4, 6, 3)),
]
RESNETS += [
    (name, dict(depth=50, **options, **NARROW), 32, (3, 4, 6, 3))
    for name, options in [
        ('mmpretrain.ResNetV1c', {}),
        ('mmpretrain.ResNetV1d', {}),
        ('mmpretrain.ResNeXt', dict(groups=4)),
        ('mmpretrain.SEResNet', {}),
        ('mmpretrain.SEResNeXt', dict(groups=4)),
        ('mmpretrain.Res2Net', dict(base_width=4)),
        ('mmpretrain.ResNeSt', {}),
        ('mmdet.ResNet', {}),
        ('mmdet.ResNetV1d', {}),
        ('mmdet.ResNeXt', dict(groups=4)),
        ('mmdet.Res2Net', dict(base_width=4)),
        ('mmdet.ResNeSt', {}),
        ('mmseg.ResNetV1c', {}),
        ('mmseg.ResNeXt', dict(groups=4)),
        ('mmseg.ResNeSt', {}),
        ('mmpose.ResNet', {}),
        ('mmpose.SEResNet', {}),
        ('mmpose.ResNeXt', dict(groups=4)),
    ]
]
MOBILE2, MOBILE3 = (1, 2, 3, 4, 3, 3, 1), (1, 2, 3, 2, 3)
TINY_VIT = dict(arch='deit-tiny', img_size=32)
SWIN_ARCH = dict(embed_dims=8, depths=(2, 2, 6, 2), num_heads=(1,) * 4)
CONVNEXT_ARCH = dict(depths=[2, 1, 3, 2], channels=[8, 16, 24, 32])
TORCH_VIT = dict(image_size=32, patch_size=8, num_layers=4, num_heads=3)
TORCH_SWIN = dict(embed_dim=24, depths=[2, 3], num_heads=[3, 6])
CN_BLOCKS = [CNBlockConfig(8, 16, 3), CNBlockConfig(16, None, 4)]
OTHERS = [
    ('mmpretrain.MobileNetV2', dict(widen_factor=0.25), 64, MOBILE2),
    ('mmpretrain.MobileNetV3', dict(arch='large'), 64, (1, 2, 3, 4, 2, 3)),
    ('mmpretrain.MobileNetV3', dict(out_indices=(2, 6, 12)), 64, MOBILE3),
    ('mmdet.MobileNetV2', {}, 64, MOBILE2),
    ('mmseg.MobileNetV2', {}, 64, MOBILE2),
    ('mmseg.MobileNetV3', {}, 64, MOBILE3),
    ('mmpose.MobileNetV2', {}, 64, MOBILE2),
    ('mmpose.MobileNetV3', {}, 64, MOBILE3),
    (
        'mmpretrain.VisionTransformer',
        dict(out_indices=(1, 5, 11), **TINY_VIT),
        32,
        (12,),
    ),
    ('mmpretrain.DistilledVisionTransformer', TINY_VIT, 32, (12,)),
    (
        'mmpretrain.SwinTransformer',
        dict(arch=SWIN_ARCH, pad_small_map=True),
        64,
        (2, 2, 6, 2),
    ),
    ('mmdet.SwinTransformer', dict(embed_dims=24), 64, (2, 2, 6, 2)),
    ('mmseg.SwinTransformer', dict(embed_dims=24), 64, (2, 2, 6, 2)),
    (
        'mmdet.PyramidVisionTransformer',
        dict(embed_dims=8, pretrain_img_size=64),
        64,
        (3, 4, 6, 3),
    ),
    ('mmdet.PyramidVisionTransformerV2', dict(embed_dims=8), 64, (3, 4, 6, 3)),
    ('mmseg.MixVisionTransformer', dict(embed_dims=8), 64, (3, 4, 6, 3)),
    (
        'mmpretrain.ConvNeXt',
        dict(arch=CONVNEXT_ARCH, out_indices=(0, 1, 2, 3)),
        64,
        (2, 1, 3, 2),
    ),
    (
        'torchvision.VisionTransformer',
        dict(TORCH_VIT, hidden_dim=24, mlp_dim=48),
        32,
        (4,),
    ),
    (
        'torchvision.SwinTransformer',
        dict(TORCH_SWIN, patch_size=[4, 4], window_size=[4, 4]),
        32,
        (2, 3),
    ),
    ('torchvision.ConvNeXt', dict(block_setting=CN_BLOCKS), 32, (3, 4)),
    (*timm('vit_tiny_patch16_224', **VIT), 32, (12,)),
    (*timm('vit_tiny_patch16_224', features_only=True, **VIT), 32, (12,)),
    (*timm('deit_tiny_distilled_patch16_224', **VIT), 32, (12,)),
    (*timm('swin_tiny_patch4_window7_224', **SWIN), 64, (2, 2, 6, 2)),
    (*timm('convnext_atto', **CONVNEXT), 32, (2, 2, 6, 2)),
    (*timm('convnext_atto', features_only=True, **CONVNEXT), 32, (2, 2, 6, 2)),
]
NETWORKS = RESNETS + OTHERS


def row_id(row):
    name, options, *_ = row
    marks = [
        'features' if k == 'features_only' else str(options[k])
        for k in ('model_name', 'depth', 'arch', 'features_only')
        if k in options and not isinstance(options[k], dict)
    ]
    return '-'.join([name, *marks])


def is_alike(row):
    """Whether it is a copy of one of mmpretrain's classes, or the like."""
    toolbox, _, cls = row[0].partition('.')
    return (
        row[0] == 'torchvision.resnet18'
        or 'features_only' in row[1]
        or toolbox in ('mmdet', 'mmseg', 'mmpose')
        and any(other[0] == f'mmpretrain.{cls}' for other in NETWORKS)
    )


#: One of a kind; the others are slow.
every_network = pytest.mark.parametrize(
    'name, options, size, blocks',
    [
        pytest.param(
            *row, id=row_id(row), marks=[pytest.mark.slow] * is_alike(row)
        )
        for row in NETWORKS
    ],
)


def build(name, options):
    """A network of which no branch adds nothing, float64, evaluating."""
    torch.manual_seed(0)
    toolbox, _, cls = name.partition('.')
    if toolbox == 'torchvision':
        backbone = getattr(torchvision.models, cls)(**options)
    else:
        if cls == 'TIMMBackbone':
            pytest.importorskip('timm')
        backbone = ROOT_MODELS.build(dict(type=name, **options))
    for parameter in backbone.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    backbone.eval()
    return backbone.double()


def resnet(depth=18, **options):
    """mmpretrain's, narrow, as :func:`build` gives it."""
    return build('mmpretrain.ResNet', dict(depth=depth, **NARROW, **options))


def run(model, images):
    with torch.no_grad():
        return [*iter_tensors(model(images))]


def assert_same(actual, expected):
    assert expected
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def draw_smaller(model, strategy):
    """Draw a subnet that skips something."""
    drawn = (draw(model, strategy, seed) for seed in count())
    return next(s for s in drawn if Path.SHORTCUT in sum(s.paths, ()))


def check_in_place(model, images):
    """A subnet run in place is the cut network; then the whole runs again."""
    full = run(model, images)
    assert full[-1].isfinite().all()
    for strategy in ('ordered', 'stochastic'):
        subnet = draw_smaller(model, strategy)
        with activate(model, subnet):
            out = run(model, images)
        assert_same(out, run(cut(model, subnet), images))
        assert not torch.equal(out[-1], full[-1])
        assert all(map(torch.equal, run(model, images), full))
    assert not any('forward' in vars(m) for m in model.modules())


def check_exported(model, images):
    """The export is the subnet in place; exactly what this skips is gone.

    Returns:
        The small model, and the subnet.
    """
    subnet, full = draw_smaller(model, 'ordered'), run(model, images)
    with activate(model, subnet):
        expected = run(model, images)
    small = export_subnet(model, subnet.depths)
    assert_same(run(small, images), expected)
    assert all(map(torch.equal, run(model, images), full))
    kept, skipped = small.state_dict(), names_of_skipped(model, subnet)
    # Wrapped blocks leave their wrapper's name out of the keys.
    skipped = [
        f'{n}.'.replace('_checkpoint_wrapped_module.', '') for n in skipped
    ]
    for key, value in model.state_dict().items():
        if key.startswith((*skipped,)):
            assert key not in kept
        else:
            assert torch.equal(kept.pop(key), value), key
    assert not kept
    return small, subnet


def check_shared(model, *images, runs_once=True, **options):
    """Two groups of passes are as apart; each distinct prefix is run once."""
    other, stages = copy.deepcopy(model), find_stages(model)
    subnets, images = some_passes(model, images, **options)
    expected = apart(other, images, subnets)
    counts = count_calls([b.module for stage in stages for b in stage.blocks])
    own = {module: module.forward for module in counts}
    losses = shared(model, images, subnets)
    assert_equal(model, other, losses, [x.detach() for x in expected])
    if runs_once:
        assert sum(counts.values()) == num_distinct(stages, subnets, images)
    for module, forward in own.items():
        assert vars(module).pop('forward') is forward
    assert not any('forward' in vars(m) for m in model.modules())


def branch_of(block, x):
    """Output of a ResNet block's last layer before the addition."""
    names = ('se_layer', 'se', 'norm3', 'bn3', 'norm2', 'bn2')
    layers = (getattr(block, name, None) for name in names)
    # The last one is that of torchvision's block for clips.
    layer = next(filter(None, layers), None) or block.conv2[1]
    seen = []
    handle = layer.register_forward_hook(
        lambda module, args, out: seen.append(out.clone())
    )
    block(x)
    handle.remove()
    return seen[0]


def expected_of_raw(block, path, args):
    """A block's branch or shortcut alone, from the whole block's parts."""
    module, (x, *rest) = unwrap_block(block.module), args
    downsample = getattr(module, 'downsample', None)
    if path is Path.SHORTCUT:
        return x if downsample is None else downsample(x).relu()
    if hasattr(module, 'downsample'):
        return branch_of(module, x).relu()
    whole = module(x, *rest)
    return whole if block.shortcut is None else whole - x


def check_raw(model, images):
    """Each block gives its branch or its shortcut, on what it gets."""
    stages, full = find_stages(model), run(model, images)
    keys, modules = [*model.state_dict()], [*model.named_modules()]
    subnet = draw(model, 'raw')
    assert {Path.BRANCH, Path.SHORTCUT} == set(sum(subnet.paths, ()))
    seen = {}

    def record(module, args, out):
        seen[module] = copy.deepcopy(args), out.clone()

    blocks = [block for stage in stages for block in stage.blocks]
    handles = [b.module.register_forward_hook(record) for b in blocks]
    with activate(model, subnet):
        run(model, images)
        assert [*model.state_dict()] == keys
        assert [*model.named_modules()] == modules
        for handle in handles:
            handle.remove()
        copies = copy.deepcopy(model), pickled(model)
    for copied in (model, *copies):
        assert all(map(torch.equal, run(copied, images), full))
    for block, path in zip(blocks, sum(subnet.paths, ())):
        args, out = seen[block.module]
        with torch.no_grad():
            expected = expected_of_raw(block, path, args)
        atol = 1e-9 * args[0].abs().max().item()
        torch.testing.assert_close(out, expected, rtol=1e-9, atol=atol)


def pickled(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    'name, options, size, blocks', filter(is_alike, NETWORKS)
)
def test_stages(name, options, size, blocks):
    assert tuple(map(len, find_stages(build(name, options)))) == blocks


@every_network
def test_in_place_and_shared(name, options, size, blocks):
    """Contract 11 for every family."""
    model = build(name, options)
    assert tuple(map(len, find_stages(model))) == blocks
    images = torch.rand(2, 2, 3, size, size).double()
    check_in_place(model, images[0, :1])
    check_raw(model, images[1, :1])
    check_shared(train_without_chance(model), *images)


def test_tridentnet_without_a_stage_that_joins_branches():
    """Its last stage's last block takes a list and returns a tensor."""
    stages = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1))
    branches = dict(num_branch=3, trident_dilations=(1, 2, 3))
    options = dict(depth=50, out_indices=(2,), test_branch_idx=1)
    backbone = build(
        'mmdet.TridentResNet', {**stages, **branches, **options, **NARROW}
    )
    backbone.train()
    assert [s.name for s in find_stages(backbone)] == ['layer1', 'layer2']
    image = torch.rand(2, 3, 64, 64).double()
    with activate(backbone, (1, 1)):
        (features,) = backbone(image)
    assert features.shape == (6, 256 // 2, 4, 4)  # three branches each


@pytest.mark.parametrize('toolbox', ['mmpretrain', 'mmseg'])
def test_timm_backbone_in_a_model(toolbox):
    """The wrapper's network is found, run as a subnet and measured."""
    name, options = timm('resnet18', features_only=True, out_indices=(3, 4))
    model = nn.Module()
    model.backbone = build(name.replace('mmpretrain', toolbox), options)
    assert find_backbone(model) is model.backbone.timm_model
    image = torch.rand(1, 3, 64, 64).double()
    with activate(model, (1, 2, 1, 1)) as subnet:
        maps = run(model.backbone, image)
    with count_flops() as flops:
        assert_same(maps, run(cut(model.backbone.timm_model, subnet), image))
    assert measure_cost(model, image).count(subnet) == flops()
