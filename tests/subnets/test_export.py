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
from tests.subnets.hand_cut_densenet import mmpretrain_densenet
from tests.subnets.test_families import (
    NETWORKS,
    assert_same,
    build,
    check_exported,
    every_network,
    resnet,
    run,
)


@every_network
def test_every_family(name, options, size, blocks):
    model = build(name, options)
    image = torch.rand(1, 3, size, size).double()
    small, subnet = check_exported(model, image)
    with count_flops() as flops:
        run(small, image)
    cost = measure_cost(model, image)
    assert flops() == cost.count(subnet) < cost.total


# In order: blocks are removed; one list is the whole network; two lists.
@pytest.mark.parametrize(
    'name, expected',
    [
        ('mmpretrain.ResNet', (1, 1, 1, 1)),
        ('mmpretrain.VisionTransformer', (1,)),
        ('mmdet.SwinTransformer', (1, 1, 1, 1)),
        ('mmdet.PyramidVisionTransformer', (1, 1, 1, 1)),
        ('torchvision.ConvNeXt', (1, 1)),
    ],
)
def test_stages_are_as_long_as_their_depth(name, expected):
    options = next(options for other, options, *_ in NETWORKS if other == name)
    small = export_subnet(build(name, options), expected)
    assert tuple(map(len, find_stages(small))) == expected


LINEAR = dict(type='mmpretrain.LinearClsHead', num_classes=5, in_channels=25)
STACKED = dict(LINEAR, type='mmpretrain.StackedLinearClsHead')


@pytest.mark.parametrize(
    'head, linear',
    [
        (LINEAR, 'fc'),
        (dict(STACKED, mid_channels=[25]), 'layers.0.fc'),
        (dict(type='mmst.STClsHead', head=LINEAR), 'fc'),
    ],
)
def test_classifier_of_a_densenet_is_cut(head, linear):
    model = mmpretrain_densenet()
    model.head = ROOT_MODELS.build(head).double()
    model.eval()
    image = torch.rand(2, 3, 32, 32).double()
    with activate(model, (1, 2, 2)):
        expected = run(model, image)
    small = export_subnet(model, (1, 2, 2))
    assert_same(run(small, image), expected)
    for net, width in ((model, 25), (small, 21)):
        assert net.head.get_submodule(linear).in_features == width


def test_densenet_backbone_alone_gives_fewer_channels():
    model = mmpretrain_densenet().backbone
    model.eval()
    image = torch.rand(1, 3, 32, 32).double()
    with activate(model, (1, 2, 2)):
        (expected,) = run(model, image)
    (out,) = run(export_subnet(model, (1, 2, 2)), image)
    assert_same([out], [expected[:, :-4]])
    assert not expected[:, -4:].any()


def test_model_that_is_wrapped_for_distributed_training():
    model = resnet()
    small = export_subnet(nn.DataParallel(model), (1, 1, 1, 1))
    assert type(small) is type(model)


def test_depths_that_do_not_fit():
    with pytest.raises(ValueError, match='has 3 entries, but the network has'):
        export_subnet(resnet(), (1, 1, 1))


@pytest.mark.parametrize('shortcut', [None, torch.relu])
def test_block_that_does_something_where_skipped(shortcut):
    net = nn.Sequential(nn.Identity(), nn.Identity())

    @register_stage_finder('Mine')
    def find(backbone):
        return [Stage('mine', (Block(net[0]), Block(net[1], shortcut)))]

    with pytest.raises(ValueError, match='mine cannot be cut to 1 blocks'):
        export_subnet(net, (1,))


def test_list_that_another_block_ends():
    """Later blocks of the same list keep their names."""
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))

    @register_stage_finder('Mine')
    def find(backbone):
        return [Stage('mine', (Block(net[1]), Block(net[2])))]

    x = torch.rand(2, 3)
    small = export_subnet(net, (1,))
    assert torch.equal(small(x), net[3](net[1](net[0](x))))
    assert '3.weight' in small.state_dict()
    assert isinstance(small[2], nn.Identity)
