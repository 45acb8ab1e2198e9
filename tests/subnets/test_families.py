"""Networks of other families than the ResNets, in their real classes."""
import copy

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS

from mmst.subnets import Path, Subnet, activate, find_stages

# Full name, options, image size, blocks a stage.
BACKBONES = [
    ('mmpretrain.MobileNetV2', {}, 64, (1, 2, 3, 4, 3, 3, 1)),
    ('mmpretrain.MobileNetV3', dict(arch='large'), 64, (1, 2, 3, 4, 2, 3)),
    ('mmpretrain.MobileNetV3', dict(arch='small'), 64, (1, 2, 3, 2, 3)),
    ('mmdet.MobileNetV2', {}, 64, (1, 2, 3, 4, 3, 3, 1)),
    ('mmseg.MobileNetV2', {}, 64, (1, 2, 3, 4, 3, 3, 1)),
    ('mmseg.MobileNetV3', {}, 64, (1, 2, 3, 2, 3)),
    ('mmpose.MobileNetV2', {}, 64, (1, 2, 3, 4, 3, 3, 1)),
    ('mmpose.MobileNetV3', {}, 64, (1, 2, 3, 2, 3)),
    ('mmpretrain.VisionTransformer', dict(arch='deit-tiny', img_size=32), 32,
     (12, )),
    ('mmpretrain.DistilledVisionTransformer',
     dict(arch='deit-tiny', img_size=32), 32, (12, )),
    ('mmpretrain.SwinTransformer', dict(arch='tiny', pad_small_map=True), 64,
     (2, 2, 6, 2)),
    ('mmdet.SwinTransformer', {}, 64, (2, 2, 6, 2)),
    ('mmseg.SwinTransformer', {}, 64, (2, 2, 6, 2)),
    ('mmdet.PyramidVisionTransformer', dict(pretrain_img_size=64), 64,
     (3, 4, 6, 3)),
    ('mmdet.PyramidVisionTransformerV2', {}, 64, (3, 4, 6, 3)),
    ('mmseg.MixVisionTransformer', {}, 64, (3, 4, 6, 3)),
    ('mmpretrain.ConvNeXt', dict(arch='atto'), 64, (2, 2, 6, 2)),
]
IDS = [f'{name}-{index}' for index, (name, *_) in enumerate(BACKBONES)]


def build(name, options):
    torch.manual_seed(0)
    backbone = ROOT_MODELS.build(dict(type=name, **options))
    for parameter in backbone.parameters():  # no branch that adds nothing
        parameter.data += 0.1 * torch.randn_like(parameter)
    backbone.eval()
    return backbone.double()


def last(features):
    """The last feature map, of networks that give several or pairs."""
    while not isinstance(features, torch.Tensor):
        features = features[-1]
    return features


class Skipped(torch.nn.Module):
    """What a removed block is, where a list's length has to stay."""

    def forward(self, x, *args):
        return x


@pytest.mark.parametrize('name, options, size, blocks', BACKBONES, ids=IDS)
def test_ordered_subnet_is_the_cut_network(name, options, size, blocks):
    backbone = build(name, options)
    stages = find_stages(backbone)
    assert tuple(map(len, stages)) == blocks
    depths = [max(1, n - 1) for n in blocks]
    cut = copy.deepcopy(backbone)
    names = {module: name for name, module in backbone.named_modules()}
    for stage, depth in zip(stages, depths):
        for block in stage.blocks[depth:]:
            parent, _, child = names[block.module].rpartition('.')
            setattr(cut.get_submodule(parent), child, Skipped())
    image = torch.rand(1, 3, size, size).double()
    with torch.no_grad():
        full = last(backbone(image))
        with activate(backbone, depths):
            subnet = last(backbone(image))
        assert torch.equal(subnet, last(cut(image)))
        assert not torch.equal(subnet, full)
        assert torch.equal(last(backbone(image)), full)


@pytest.mark.parametrize('name, options, size, blocks', BACKBONES, ids=IDS)
def test_raw_branch_and_shortcut(name, options, size, blocks):
    """Each block gives its branch, its input, or both."""
    backbone = build(name, options)
    stages = find_stages(backbone)
    image = torch.rand(1, 3, size, size).double()
    seen = {}

    def record(key):
        return lambda module, args, out: seen.__setitem__(
            key, (args, out.clone()))

    for i, stage in enumerate(stages):
        for j, block in enumerate(stage.blocks):
            block.module.register_forward_hook(record((i, j)))
    paths = [[Path.BRANCH if (i + j) % 2 or block.shortcut is None
              else Path.SHORTCUT for j, block in enumerate(stage.blocks)]
             for i, stage in enumerate(stages)]
    with torch.no_grad():
        with activate(backbone, Subnet(tuple(map(tuple, paths)))):
            backbone(image)
        raw = dict(seen)
        for i, stage in enumerate(stages):
            for j, block in enumerate(stage.blocks):
                args, out = raw[i, j]
                if paths[i][j] is Path.SHORTCUT:
                    expected = args[0]
                else:
                    whole = block.module(*args)
                    expected = whole if block.shortcut is None else (
                        whole - args[0])
                torch.testing.assert_close(out, expected, rtol=1e-9,
                                           atol=1e-9)


@pytest.mark.parametrize('name, options', [
    ('mmpretrain.EfficientNet', dict(arch='b0')),
    ('mmpretrain.MlpMixer', dict(arch='b', img_size=64)),
    ('mmpretrain.ShuffleNetV2', {}),
])
def test_families_that_are_not_known(name, options):
    with pytest.raises(TypeError, match='no residual stages found in'):
        find_stages(ROOT_MODELS.build(dict(type=name, **options)))
