"""An exported subnet is the subnet in place, without what this skips."""

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from mmst.subnets import (
    Block,
    Stage,
    activate,
    count_flops,
    export_subnet,
    find_stages,
    measure_cost,
    register_stage_finder,
)
from mmst.subnets.stages import _FINDERS
from tests.subnets.test_families import NETWORKS, rows
from tests.subnets.test_families import build as build_network

NARROW = dict(base_channels=8, stem_channels=8)
SMALL_SWIN = dict(embed_dims=12, depths=(2, 2, 4, 2), num_heads=(1, 2, 4, 8))
# Full name, options, image size, depths.
BACKBONES = [
    ('mmpretrain.ResNet', dict(depth=18, **NARROW), 32, (1, 2, 1, 2)),
    ('mmpretrain.ResNet', dict(depth=50, **NARROW), 32, (3, 2, 4, 1)),
    ('mmpretrain.SEResNet', dict(depth=50, **NARROW), 32, (2, 4, 1, 3)),
    ('mmpretrain.RegNet', dict(arch='regnetx_400mf'), 32, (1, 1, 7, 5)),
    (
        'mmst.CIFARResNet',
        dict(depth=32, base_channels=4, stem_channels=4),
        16,
        (5, 1, 3),
    ),
    (
        'mmpretrain.MobileNetV2',
        dict(widen_factor=0.25),
        32,
        (1, 1, 3, 2, 3, 1, 1),
    ),
    (
        'mmpretrain.MobileNetV3',
        dict(arch='small', out_indices=(2, 6, 12)),
        32,
        (1, 1, 3, 1, 2),
    ),
    (
        'mmpretrain.VisionTransformer',
        dict(
            arch=dict(
                embed_dims=16,
                num_layers=5,
                num_heads=2,
                feedforward_channels=32,
            ),
            img_size=32,
            out_indices=(1, 3, 4),
        ),
        32,
        (3,),
    ),
    (
        'mmpretrain.SwinTransformer',
        dict(
            arch=dict(
                embed_dims=12, depths=[2, 2, 4, 2], num_heads=[1, 2, 4, 8]
            ),
            pad_small_map=True,
        ),
        64,
        (1, 2, 3, 1),
    ),
    ('mmdet.SwinTransformer', SMALL_SWIN, 64, (1, 2, 3, 1)),
    (
        'mmdet.PyramidVisionTransformer',
        dict(pretrain_img_size=64, embed_dims=8),
        64,
        (2, 4, 1, 3),
    ),
    (
        'mmpretrain.ConvNeXt',
        dict(
            arch=dict(depths=[2, 1, 3, 2], channels=[8, 16, 24, 32]),
            out_indices=(0, 1, 2, 3),
        ),
        64,
        (1, 1, 2, 2),
    ),
    ('mmpretrain.TIMMBackbone', dict(model_name='resnet18'), 32, (1, 2, 1, 1)),
    (
        'mmpretrain.TIMMBackbone',
        dict(model_name='vit_tiny_patch16_224', img_size=32, depth=4),
        32,
        (3,),
    ),
]
DENSE = dict(growth_rate=4, depths=[2, 3, 2], init_channels=8)


def build(cfg):
    """A network in evaluation mode with no two layers alike, in float64."""
    if cfg['type'] == 'mmpretrain.TIMMBackbone':
        pytest.importorskip('timm')
    torch.manual_seed(0)
    model = ROOT_MODELS.build(cfg)
    for module in model.modules():
        if getattr(module, 'running_var', None) is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.num_batches_tracked += 7
    for parameter in model.parameters():  # no branch that adds nothing
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.eval()
    return model.double()


def tensors(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [t for output in outputs for t in tensors(output)]


def run(model, *args, **kwargs):
    with torch.no_grad():
        return tensors(model(*args, **kwargs))


def assert_close(actual, expected):
    assert len(actual) == len(expected) > 0
    for a, b in zip(actual, expected):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def skipped_prefixes(model, depths):
    names = {module: name for name, module in model.named_modules()}
    return tuple(
        names[block.module] + '.'
        for stage, depth in zip(find_stages(model), depths)
        for block in stage.blocks[depth:]
    )


def multiply_adds(model, *args):
    with count_flops() as flops:
        run(model, *args)
    return flops()


@pytest.mark.parametrize('name, options, size, depths', BACKBONES)
def test_backbones(name, options, size, depths):
    model = build(dict(type=name, **options))
    image = torch.rand(1, 3, size, size).double()
    full = run(model, image)
    cost = measure_cost(model, image)
    with activate(model, depths) as subnet:
        expected = run(model, image)
    assert not torch.equal(full[-1], expected[-1])
    small = export_subnet(model, depths)
    assert_close(run(small, image), expected)
    # The given model is as it was.
    assert all(map(torch.equal, run(model, image), full))
    # Exactly the skipped blocks' tensors are gone, the others bit-equal.
    skipped = skipped_prefixes(model, depths)
    kept = {
        key: value
        for key, value in model.state_dict().items()
        if not key.startswith(skipped)
    }
    assert len(skipped) == sum(map(len, find_stages(model))) - sum(depths)
    assert small.state_dict().keys() == kept.keys()
    for key, value in small.state_dict().items():
        assert torch.equal(value, kept[key]), key
    assert multiply_adds(small, image) == cost.count(subnet)
    assert cost.count(subnet) < cost.total


@rows(NETWORKS)
def test_every_family(name, options, size, blocks):
    model = build_network(name, options)
    image = torch.rand(1, 3, size, size).double()
    depths = [max(1, full - 1) for full in blocks]
    with activate(model, depths):
        expected = run(model, image)
    small = export_subnet(model, depths)
    assert_close(run(small, image), expected)
    count = sum(1 for _ in small.parameters())
    assert count < sum(1 for _ in model.parameters())


@pytest.mark.parametrize(
    'name, depths',
    [
        ('mmpretrain.ResNet', (1, 2, 2, 1)),
        ('mmpretrain.ConvNeXt', (1, 1, 2, 2)),
        ('mmpretrain.VisionTransformer', (2,)),
        ('mmdet.SwinTransformer', (1, 2, 3, 1)),
        ('mmdet.PyramidVisionTransformer', (2, 4, 1, 3)),
    ],
)
def test_stages_are_as_long_as_their_depth(name, depths):
    options = next(o for n, o, *_ in BACKBONES if n == name)
    small = export_subnet(build(dict(type=name, **options)), depths)
    assert tuple(map(len, find_stages(small))) == depths


def dense_classifier(head):
    return build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.DenseNet', arch=DENSE),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=head,
        )
    )


@pytest.mark.parametrize(
    'head, linear',
    [
        (
            dict(
                type='mmpretrain.LinearClsHead', num_classes=5, in_channels=18
            ),
            'head.fc',
        ),
        (
            dict(
                type='mmpretrain.StackedLinearClsHead',
                num_classes=5,
                in_channels=18,
                mid_channels=[18],
            ),
            'head.layers.0.fc',
        ),
        (
            dict(
                type='mmst.STClsHead',
                head=dict(
                    type='mmpretrain.LinearClsHead',
                    num_classes=5,
                    in_channels=18,
                ),
            ),
            'head.fc',
        ),
    ],
)
def test_densenet_loses_the_channels_of_skipped_layers(head, linear):
    model = dense_classifier(head)
    depths, image = (1, 3, 1), torch.rand(2, 3, 32, 32).double()
    with activate(model, depths) as subnet:
        expected = run(model, image)
    small = export_subnet(model, depths)
    assert_close(run(small, image), expected)
    # 8 + 2 * 4 = 16, halved; 8 + 3 * 4 = 20, halved; 10 + 2 * 4 = 18.
    ours, theirs = small.state_dict(), model.state_dict()
    narrower = {
        'backbone.transitions.0.norm': 12,
        'backbone.transitions.0.conv': 12,
        'backbone.transitions.2.0': 14,
        linear: 14,
    }
    for key, value in ours.items():
        width = narrower.get(key.rpartition('.')[0])
        if (
            width is not None
            and theirs[key].dim() > 0
            and not (key.endswith('bias') and 'fc' in key)
        ):
            dim = min(1, theirs[key].dim() - 1)
            assert value.shape[dim] == width < theirs[key].shape[dim]
            assert torch.equal(value, theirs[key].narrow(dim, 0, width)), key
        else:
            assert torch.equal(value, theirs[key]), key
    gone = skipped_prefixes(model, depths)
    assert ours.keys() == {k for k in theirs if not k.startswith(gone)}
    assert multiply_adds(small.backbone, image[:1]) == measure_cost(
        model, image[:1]
    ).count(subnet)


@pytest.mark.parametrize('source', ['torchvision', 'timm'])
def test_other_densenets(source):
    package = pytest.importorskip(source)
    options = dict(growth_rate=4, block_config=(2, 1, 2, 3))
    if source == 'torchvision':
        model = package.models.DenseNet(num_init_features=8, **options)
    else:
        model = package.models.DenseNet(num_classes=7, **options)
    model.double().eval()
    image = torch.rand(1, 3, 32, 32).double()
    with activate(model, (1, 1, 2, 2)):
        expected = run(model, image)
    small = export_subnet(model, (1, 1, 2, 2))
    assert_close(run(small, image), expected)
    assert small.classifier.in_features == model.classifier.in_features - 4


def test_densenet_backbone_alone_gives_fewer_channels():
    model = build(dict(type='mmpretrain.DenseNet', arch=DENSE))
    image = torch.rand(1, 3, 32, 32).double()
    with activate(model, (2, 3, 1)):
        (expected,) = run(model, image)
    (out,) = run(export_subnet(model, (2, 3, 1)), image)
    assert_close([out], [expected[:, :-4]])
    assert expected[:, -4:].abs().max() == 0


def test_detector():
    model = build(
        dict(
            _scope_='mmdet',
            type='RetinaNet',
            data_preprocessor=dict(type='DetDataPreprocessor'),
            backbone=dict(
                type='ResNet',
                depth=18,
                base_channels=8,
                out_indices=(0, 1, 2, 3),
            ),
            neck=dict(
                type='FPN',
                in_channels=[8, 16, 32, 64],
                out_channels=8,
                num_outs=5,
            ),
            bbox_head=dict(
                type='RetinaHead',
                num_classes=3,
                in_channels=8,
                feat_channels=8,
                stacked_convs=1,
            ),
        )
    )
    image = torch.rand(1, 3, 64, 64).double()
    with activate(model, (2, 1, 1, 2)):
        expected = run(model, image)
    small = export_subnet(model, (2, 1, 1, 2))
    assert_close(run(small, image), expected)
    assert tuple(map(len, find_stages(small))) == (2, 1, 1, 2)


def test_model_that_is_wrapped_for_distributed_training():
    model = build(dict(type='mmpretrain.ResNet', depth=18, **NARROW))
    small = export_subnet(nn.DataParallel(model), (1, 1, 1, 1))
    assert type(small) is type(model)


@pytest.mark.parametrize(
    'depths, message',
    [
        ((1, 1, 1), 'has 3 entries, but the network has 4 stages'),
        ((1, 1, 3, 1), 'depth 3 of stage 3 .*not between 1 and 2'),
        ((0, 1, 1, 1), 'depth 0 of stage 1'),
    ],
)
def test_depths_that_do_not_fit(depths, message):
    model = build(dict(type='mmpretrain.ResNet', depth=18, **NARROW))
    with pytest.raises(ValueError, match=message):
        export_subnet(model, depths)


def test_reader_that_is_not_known():
    model = dense_classifier(
        dict(type='mmpretrain.LinearClsHead', num_classes=5, in_channels=18)
    )
    model.head = nn.Conv2d(18, 5, 1).double()
    with pytest.raises(ValueError, match='the last stage of DenseNet cannot'):
        export_subnet(model, (2, 3, 1))
    export_subnet(model, (1, 3, 2))


@pytest.mark.parametrize('shortcut', [None, torch.relu])
def test_block_that_does_something_where_skipped(monkeypatch, shortcut):
    monkeypatch.setattr('mmst.subnets.stages._FINDERS', dict(_FINDERS))
    net = nn.Sequential(nn.Identity(), nn.Identity())

    @register_stage_finder('Mine')
    def find(backbone):
        return [Stage('mine', (Block(net[0]), Block(net[1], shortcut)))]

    with pytest.raises(ValueError, match='mine cannot be cut to 1 blocks'):
        export_subnet(net, (1,))


def test_list_that_another_block_ends(monkeypatch):
    """Later blocks of the same list keep their names."""
    monkeypatch.setattr('mmst.subnets.stages._FINDERS', dict(_FINDERS))
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))

    @register_stage_finder('Mine')
    def find(backbone):
        return [Stage('mine', (Block(net[1]), Block(net[2])))]

    x = torch.rand(2, 3)
    small = export_subnet(net, (1,))
    assert torch.equal(small(x), net[3](net[1](net[0](x))))
    assert '3.weight' in small.state_dict()
    assert isinstance(small[2], nn.Identity)
