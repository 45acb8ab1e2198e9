"""Blocks, spaces and costs of known networks."""

from itertools import product

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmst.analysis.stage_layout import (
    draw_layouts,
    format_layout_table,
    measure_stage_layout,
)
from mmst.engine import SubnetSamplerHook
from mmst.launch.configured_training import (
    build_backbone,
    make_training_image,
    read_sampler,
)
from mmst.subnets import Block, Stage, SubnetSampler, register_stage_finder
from tests.analysis.pictures import read_legend


class Chain(nn.Sequential):
    """Stages of equal 1 x 1 convolutions."""

    def __init__(self, *num_blocks):
        stages = (
            [nn.Conv2d(3, 3, 1, bias=False) for _ in range(count)]
            for count in num_blocks
        )
        super().__init__(*(nn.Sequential(*stage) for stage in stages))


@pytest.fixture
def chain():
    """Backbones that are chains, for 4 x 4 maps."""

    @register_stage_finder('Chain')
    def find(backbone):
        if isinstance(backbone, Chain):
            return [
                Stage(f'stage{i}', tuple(map(Block, stage)))
                for i, stage in enumerate(backbone, 1)
            ]
        return None

    return Chain


IMAGE = torch.zeros(1, 3, 4, 4)


def count_by_hand(num_blocks, lowest):
    """Number of subnets, and their mean share of all blocks.

    And of those after a subnet leaves the main network.
    """
    ranges = (range(low, n + 1) for low, n in zip(lowest, num_blocks))
    subnets = list(product(*ranges))
    unshared = 0
    for depths in subnets:
        left = [d < full for d, full in zip(depths, num_blocks)] + [True]
        unshared += sum(depths[left.index(True) + 1 :])
    whole = len(subnets) * sum(num_blocks)
    return len(subnets), sum(map(sum, subnets)) / whole, unshared / whole


@pytest.mark.parametrize(
    'num_blocks, spaces',
    [
        # Of a ResNet-50, as in the paper.
        (
            (3, 4, 6, 3),
            [(1, (3, 4, 6, 3)), (2, (2, 3, 5, 2)), (3, (1, 2, 4, 1))],
        ),
        # Stages with fewer blocks are kept whole.
        ((1, 3, 2), [(1, (1, 3, 2)), ([1, 2, 2], (1, 2, 1))]),
    ],
)
def test_spaces_and_their_costs(chain, num_blocks, spaces):
    layout = measure_stage_layout(chain(*num_blocks), IMAGE)
    names = (f'stage{i}' for i in range(1, 5))
    assert layout.blocks == dict(zip(names, num_blocks))
    assert layout.size == (4, 4) and layout.num_subnets == 1
    assert [(p.min_depth, p.space) for p in layout.proposals] == spaces
    for proposal in layout.proposals:
        lowest = [n + 1 - c for n, c in zip(num_blocks, proposal.space)]
        number, share, unshared = count_by_hand(num_blocks, lowest)
        assert proposal.num_subnets == number
        assert proposal.subnet_cost == pytest.approx(share)
        assert proposal.iteration_cost == pytest.approx(1 + unshared, abs=0.01)


def test_number_and_sizes_of_the_sampler(chain):
    """At half the size a 1 x 1 convolution costs a quarter."""
    backbone = chain(2, 2)
    sampler = SubnetSampler(num_subnets=5, sizes=[0.5])
    layout = measure_stage_layout(backbone, IMAGE, sampler, [1])
    (proposal,) = layout.proposals
    _, share, _ = count_by_hand((2, 2), (1, 1))
    assert layout.num_subnets == 5
    assert proposal.subnet_cost == pytest.approx(share)
    # Of the tree of their prefixes: the first block, then those that one of
    # five subnets at least has, of two or of four kinds.
    half, quarter = 1 - 0.5**5, 1 - 0.75**5
    blocks = 1 + half + 2 * (half + quarter)
    assert proposal.iteration_cost == pytest.approx(
        1 + blocks / 4 / 4, abs=0.01
    )


@pytest.mark.parametrize('needs_values', [False, True])
def test_large_images_cost_no_computation(chain, needs_values):
    """Unless the network reads values; both ways the same is counted."""
    size = (600, 500)
    small = measure_stage_layout(chain(2, 3), IMAGE)
    backbone, devices = chain(2, 3), []

    def watch(module, args):
        devices.append(args[0].device.type)
        if needs_values:
            assert args[0].sum().item() == 0

    backbone.register_forward_pre_hook(watch)
    large = measure_stage_layout(backbone, torch.zeros(1, 3, *size))
    assert large.size == size
    for one, other in zip(small.proposals, large.proposals):
        assert one[:3] == other[:3]
        assert one[3:] == pytest.approx(other[3:])
    assert set(devices) == ({'meta', 'cpu'} if needs_values else {'meta'})
    # The caller's own network is as it was.
    assert {p.device.type for p in backbone.parameters()} == {'cpu'}


def test_table_and_picture(chain):
    layouts = {
        'a': measure_stage_layout(chain(3, 4, 6, 3), IMAGE),
        'b': measure_stage_layout(chain(2, 5), IMAGE),
    }
    title, head, *rows = format_layout_table('a', layouts['a']).splitlines()
    assert title == 'a: stage1 3, stage2 4, stage3 6, stage4 3; 4 x 4 px'
    assert head.endswith('K = 1')
    *cells, cost = rows[2].split()
    assert cells == ['3', '[1,', '2,', '4,', '1]', '8', '0.875']
    *_, unshared = count_by_hand((3, 4, 6, 3), (3, 3, 3, 3))
    assert float(cost) == pytest.approx(1 + unshared, abs=0.015)
    figure = draw_layouts(layouts)
    (axes,) = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[3, 4, 6, 3], [2, 5]]
    lefts = torch.tensor([bar.get_x() for bar in axes.patches])
    width = axes.patches[0].get_width()
    assert (lefts.sort()[0].diff() >= width - 1e-6).all()
    assert read_legend(figure) == ['a', 'b']


CROP = dict(type='RandomCrop', crop_size=(512, 1024))


@pytest.mark.parametrize(
    'steps, size',
    [
        ([dict(type='RandomResizedCrop', scale=224), dict()], (224, 224)),
        ([dict(type='Resize', scale=(1333, 800))], (800, 1333)),
        ([dict(type='Resize', scale=(9, 9)), CROP], (512, 1024)),
        ([dict(type='TopdownAffine', input_size=(192, 256))], (256, 192)),
    ],
)
def test_size_of_training_images(steps, size):
    dataset = dict(type='D', pipeline=steps)
    for nested in (
        dataset,
        dict(type='RepeatDataset', dataset=dataset),
        dict(type='ConcatDataset', datasets=[dataset, dataset]),
        dict(  # whose own pipeline comes last
            type='MultiImageMixDataset',
            dataset=dict(dataset, pipeline=[dict(type='Resize', scale=7)]),
            pipeline=steps,
        ),
    ):
        cfg = Config(dict(train_dataloader=dict(dataset=nested)))
        assert make_training_image(cfg).shape == (1, 3, *size)
    assert make_training_image(cfg, (8, 6)).shape == (1, 3, 8, 6)


@pytest.mark.parametrize(
    'pipeline',
    [
        [],
        [dict(type='RandomChoiceResize', scales=[(1, 2), (3, 4)])],
        [dict(type='Resize', scale=(0.5, 2.0))],
    ],
)
def test_unknown_size_of_training_images(pipeline):
    cfg = Config(dict(train_dataloader=dict(dataset=dict(pipeline=pipeline))))
    with pytest.raises(ValueError, match='--size HEIGHT WIDTH'):
        make_training_image(cfg)


def test_what_a_config_says():
    backbone = dict(type='mmst.CIFARResNet', depth=20)
    sampler = dict(type='mmst.SubnetSamplerHook', num_subnets=2, min_depth=2)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(backbone=backbone),
            custom_hooks=[dict(type='EMAHook'), sampler],
        )
    )
    net = build_backbone(cfg)
    assert type(net).__name__ == 'CIFARResNet'
    # As a new-style config has it, and the dump of one.
    for kind in (
        sampler['type'],
        'SubnetSamplerHook',
        'mmst.engine.SubnetSamplerHook',
        SubnetSamplerHook,
    ):
        cfg.custom_hooks = [dict(type='EMAHook'), dict(sampler, type=kind)]
        hook = read_sampler(cfg, net)
        assert hook.num_subnets == 2 and hook.space.candidates == (2, 2, 2)
    cfg.custom_hooks = [dict(sampler, num_subnets=0)]
    assert read_sampler(cfg, net) is None
    with pytest.raises(ValueError, match='no model.backbone'):
        build_backbone(Config(dict(default_scope='mmpretrain')))
