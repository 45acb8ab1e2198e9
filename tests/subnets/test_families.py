"""Every network family, in its real class: blocks, skipping, raw paths."""

import copy
from random import Random

import pytest
import torch
import torchvision.models
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn
from torchvision.models.convnext import CNBlockConfig

from mmst.subnets import (
    Path,
    SamplingSpace,
    activate,
    find_backbone,
    find_stages,
    measure_cost,
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
    ('mmpretrain.ResNet', dict(depth=34, **NARROW), 32, (3, 4, 6, 3)),
    ('mmpretrain.ResNet', dict(depth=50, **NARROW), 32, (3, 4, 6, 3)),
    ('mmpretrain.ResNet', dict(depth=101, **NARROW), 32, (3, 4, 23, 3)),
    ('mmpretrain.ResNet', dict(depth=152, **NARROW), 32, (3, 8, 36, 3)),
    ('mmpretrain.ResNet_CIFAR', dict(depth=18, **NARROW), 16, (2, 2, 2, 2)),
    ('mmpretrain.ResNet_CIFAR', dict(depth=50, **NARROW), 16, (3, 4, 6, 3)),
    ('mmst.CIFARResNet', dict(depth=20), 16, (3, 3, 3)),
    ('mmst.CIFARResNet', dict(depth=32), 16, (5, 5, 5)),
    ('mmst.CIFARResNet', dict(depth=44), 16, (7, 7, 7)),
    ('mmst.CIFARResNet', dict(depth=56), 16, (9, 9, 9)),
    ('mmst.CIFARResNet', dict(depth=110), 16, (18, 18, 18)),
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
OTHERS = [
    ('mmpretrain.MobileNetV2', {}, 64, (1, 2, 3, 4, 3, 3, 1)),
    ('mmpretrain.MobileNetV3', dict(arch='large'), 64, (1, 2, 3, 4, 2, 3)),
    ('mmpretrain.MobileNetV3', dict(arch='small'), 64, (1, 2, 3, 2, 3)),
    ('mmdet.MobileNetV2', {}, 64, (1, 2, 3, 4, 3, 3, 1)),
    ('mmseg.MobileNetV2', {}, 64, (1, 2, 3, 4, 3, 3, 1)),
    ('mmseg.MobileNetV3', {}, 64, (1, 2, 3, 2, 3)),
    ('mmpose.MobileNetV2', {}, 64, (1, 2, 3, 4, 3, 3, 1)),
    ('mmpose.MobileNetV3', {}, 64, (1, 2, 3, 2, 3)),
    (
        'mmpretrain.VisionTransformer',
        dict(arch='deit-tiny', img_size=32),
        32,
        (12,),
    ),
    (
        'mmpretrain.DistilledVisionTransformer',
        dict(arch='deit-tiny', img_size=32),
        32,
        (12,),
    ),
    (
        'mmpretrain.SwinTransformer',
        dict(
            arch=dict(
                embed_dims=24, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]
            ),
            pad_small_map=True,
        ),
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
    ('mmpretrain.ConvNeXt', dict(arch='atto'), 64, (2, 2, 6, 2)),
    (
        'torchvision.VisionTransformer',
        dict(
            image_size=32,
            patch_size=8,
            num_layers=4,
            num_heads=3,
            hidden_dim=24,
            mlp_dim=48,
        ),
        32,
        (4,),
    ),
    (
        'torchvision.SwinTransformer',
        dict(
            patch_size=[4, 4],
            embed_dim=24,
            depths=[2, 3],
            num_heads=[3, 6],
            window_size=[4, 4],
        ),
        32,
        (2, 3),
    ),
    (
        'torchvision.ConvNeXt',
        dict(
            block_setting=[CNBlockConfig(8, 16, 3), CNBlockConfig(16, None, 4)]
        ),
        32,
        (3, 4),
    ),
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


def rows(table):
    return pytest.mark.parametrize(
        'name, options, size, blocks', table, ids=map(row_id, table)
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


def last(features):
    """The last feature map, of networks that give several or pairs."""
    while not isinstance(features, torch.Tensor):
        features = features[-1]
    return features


class Skipped(nn.Module):
    """What a removed block is, where the network may count its blocks."""

    def forward(self, x, *args):
        return x


def cut(backbone, subnet):
    """The same network with the skipped blocks removed for real."""
    small = copy.deepcopy(backbone)
    names = {module: name for name, module in backbone.named_modules()}
    for stage, paths in zip(find_stages(backbone), subnet.paths):
        for block, path in reversed(list(zip(stage.blocks, paths))):
            if path is Path.SHORTCUT:
                parent, _, child = names[block.module].rpartition('.')
                parent = small.get_submodule(parent)
                if hasattr(block.module, 'downsample'):
                    del parent[int(child)]
                else:
                    setattr(parent, child, Skipped())
    return small


def draw(stages, strategy, seed=0):
    has_shortcut = [
        [block.shortcut is not None for block in stage.blocks]
        for stage in stages
    ]
    space = SamplingSpace(
        [len(stage) for stage in stages],
        strategy=strategy,
        has_shortcut=has_shortcut,
    )
    return space.sample(Random(seed))


@rows(NETWORKS)
def test_subnets_are_the_cut_network(name, options, size, blocks):
    """Drawn ordered and stochastic, run in place; then the whole again."""
    backbone = build(name, options)
    stages = find_stages(backbone)
    assert tuple(map(len, stages)) == blocks
    image = torch.rand(1, 3, size, size).double()
    with torch.no_grad():
        full = last(backbone(image))
        assert full.isfinite().all()
        for strategy in ('ordered', 'stochastic'):
            subnet = draw(stages, strategy)
            with activate(backbone, subnet):
                out = last(backbone(image))
            assert torch.equal(out, last(cut(backbone, subnet)(image)))
            assert not torch.equal(out, full)
            assert torch.equal(last(backbone(image)), full)
    assert not any('forward' in vars(m) for m in backbone.modules())


def resnet_branch(block, x):
    """What a ResNet block's last layer before the addition gives, in ReLU."""
    names = ('se_layer', 'se', 'norm3', 'bn3', 'norm2', 'bn2')
    before_sum = next(
        getattr(block, n) for n in names if getattr(block, n, None)
    )
    seen = []
    handle = before_sum.register_forward_hook(
        lambda module, args, out: seen.append(out.clone())
    )
    block(x)
    handle.remove()
    return seen[0].relu()


def expected_of_raw(block, path, args):
    """A block's branch or shortcut alone, from the whole block's parts."""
    module, (x, *rest) = block.module, args
    downsample = getattr(module, 'downsample', None)
    if path is Path.SHORTCUT:
        return x if downsample is None else downsample(x).relu()
    if hasattr(module, 'downsample'):
        return resnet_branch(module, x)
    whole = module(x, *rest)
    return whole if block.shortcut is None else whole - x


@rows(NETWORKS)
def test_raw_branch_and_shortcut(name, options, size, blocks):
    """Each block gives its branch or its shortcut, on what it gets."""
    backbone = build(name, options)
    stages = find_stages(backbone)
    image = torch.rand(1, 3, size, size).double()
    seen = {}

    def record(module, args, out):
        seen[module] = (
            tuple(
                a.clone() if isinstance(a, torch.Tensor) else a for a in args
            ),
            out.clone(),
        )

    handles = [
        block.module.register_forward_hook(record)
        for stage in stages
        for block in stage.blocks
    ]
    subnet = draw(stages, 'raw')
    assert {Path.BRANCH, Path.SHORTCUT} == set(sum(subnet.paths, ()))
    with torch.no_grad():
        full = last(backbone(image))
        with activate(backbone, subnet):
            backbone(image)
        for handle in handles:
            handle.remove()
        for stage, paths in zip(stages, subnet.paths):
            for block, path in zip(stage.blocks, paths):
                args, out = seen[block.module]
                torch.testing.assert_close(
                    out,
                    expected_of_raw(block, path, args),
                    rtol=1e-9,
                    atol=1e-9 * args[0].abs().max().item(),
                )
        assert torch.equal(last(backbone(image)), full)


@pytest.mark.parametrize(
    'name, options',
    [
        ('mmpretrain.EfficientNet', dict(arch='b0')),
        ('mmpretrain.EdgeNeXt', dict(arch='xxsmall')),
        ('mmpretrain.MlpMixer', dict(arch='b', img_size=64)),
        ('mmpretrain.MobileViT', dict(arch='xx_small')),
        ('mmpretrain.ShuffleNetV2', {}),
        ('torchvision.squeezenet1_1', {}),
        timm('efficientnet_b0'),
        # Its features leave the network before the next norm.
        timm('densenet121', features_only=True),
    ],
)
def test_families_that_are_not_known(name, options):
    with pytest.raises(TypeError, match='no residual stages found in'):
        find_stages(build(name, options))


def test_tridentnet_without_a_stage_that_joins_branches():
    """Its last stage's last block takes a list and returns a tensor."""
    trident = dict(
        depth=50, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1)
    )
    backbone = build(
        'mmdet.TridentResNet',
        dict(
            trident,
            out_indices=(2,),
            base_channels=8,
            stem_channels=8,
            num_branch=3,
            test_branch_idx=1,
            trident_dilations=(1, 2, 3),
        ),
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
    with torch.no_grad(), activate(model, (1, 2, 1, 1)) as subnet:
        maps = model.backbone(image)
    small = cut(model.backbone.timm_model, subnet)
    for ours, expected in zip(maps, small(image)):
        assert torch.equal(ours, expected)
    assert (
        measure_cost(model, image).count(subnet)
        == measure_cost(small, image).total
    )


def test_timm_densenet():
    name, options = timm('densenet121', growth_rate=4)
    stages = find_stages(build(name, options))
    assert [len(stage) for stage in stages] == [6, 12, 24, 16]
