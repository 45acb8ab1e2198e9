"""Finding stages: who is asked, who is refused."""

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from mmst.subnets import (
    Block,
    Stage,
    activate,
    find_stages,
    measure_cost,
    register_stage_finder,
)
from mmst.subnets.stages import _FINDERS


@pytest.mark.parametrize(
    'name, options',
    [
        ('mmpretrain.VGG', dict(depth=11)),
        ('mmdet.HourglassNet', dict()),
        (
            'mmdet.HRNet',
            dict(
                extra=dict(
                    stage1=dict(
                        num_modules=1,
                        num_branches=1,
                        block='BOTTLENECK',
                        num_blocks=(4,),
                        num_channels=(64,),
                    ),
                    stage2=dict(
                        num_modules=1,
                        num_branches=2,
                        block='BASIC',
                        num_blocks=(4, 4),
                        num_channels=(32, 64),
                    ),
                    stage3=dict(
                        num_modules=1,
                        num_branches=3,
                        block='BASIC',
                        num_blocks=(4, 4, 4),
                        num_channels=(32, 64, 128),
                    ),
                    stage4=dict(
                        num_modules=1,
                        num_branches=4,
                        block='BASIC',
                        num_blocks=(4, 4, 4, 4),
                        num_channels=(32, 64, 128, 256),
                    ),
                )
            ),
        ),
    ],
)
def test_other_networks_are_refused(name, options):
    backbone = ROOT_MODELS.build(dict(type=name, **options))
    with pytest.raises(TypeError, match='no residual stages found in .*Known'):
        find_stages(backbone)


@pytest.mark.parametrize('model', [None, 'resnet18', nn.Linear, [nn.ReLU()]])
def test_what_is_no_network_is_named(model):
    with pytest.raises(TypeError) as caught:
        find_stages(model)
    assert str(caught.value) == (
        f'expected a network, a torch.nn.Module, not {model!r}'
    )


def test_a_registered_family_is_found(monkeypatch):
    monkeypatch.setattr('mmst.subnets.stages._FINDERS', dict(_FINDERS))

    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(
                nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)
            )

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    @register_stage_finder('Mine')
    def find(backbone):
        if not isinstance(backbone, Mine):
            return None
        return [Stage('parts', tuple(map(Block, backbone.parts)))]

    model = Mine()
    x = torch.rand(1, 3, 5, 5)
    with activate(model, [1]):
        assert torch.equal(model(x), model.parts[0](x))
    # 3 * 3 * 3 * 3 multiply-adds for each of 25 pixels, in each block.
    assert measure_cost(model, x).blocks == ((2025,) * 3,)


def test_a_later_finder_goes_before_an_earlier(monkeypatch):
    monkeypatch.setattr('mmst.subnets.stages._FINDERS', dict(_FINDERS))
    backbone = ROOT_MODELS.build(dict(type='mmpretrain.ResNet', depth=18))

    @register_stage_finder('my ResNets')
    def find(net):
        return [Stage('mine', (Block(net.layer1[0]),))]

    assert [stage.name for stage in find_stages(backbone)] == ['mine']


def test_a_later_block_that_changes_the_shape_is_refused():
    backbone = ROOT_MODELS.build(dict(type='mmpretrain.ResNet', depth=18))
    backbone.layer2[1].downsample = nn.Conv2d(128, 64, 1)
    with pytest.raises(TypeError, match='no residual stages found in ResNet'):
        find_stages(backbone)
