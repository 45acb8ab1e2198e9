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
from mmst.subnets.stages import _FINDERS


@pytest.fixture
def chain(monkeypatch):
    """Backbones of equal 1 x 1 convolutions on 4 x 4 maps."""
    monkeypatch.setattr('mmst.subnets.stages._FINDERS', dict(_FINDERS))

    @register_stage_finder('Chain')
    def find(backbone):
        if not isinstance(backbone, Chain):
            return None
        return [
            Stage(f'stage{i}', tuple(map(Block, stage)))
            for i, stage in enumerate(backbone, 1)
        ]

    class Chain(nn.Sequential):
        def __init__(self, *num_blocks):
            super().__init__(
                *(
                    nn.Sequential(
                        *(nn.Conv2d(3, 3, 1, bias=False) for _ in range(count))
                    )
                    for count in num_blocks
                )
            )

    return Chain


def list_subnets(num_blocks, lowest):
    return list(
        product(
            *(range(low, full + 1) for low, full in zip(lowest, num_blocks))
        )
    )


def mean_share(num_blocks, lowest):
    """Of all blocks, how many a subnet has, over all subnets."""
    subnets = list_subnets(num_blocks, lowest)
    share = sum(map(sum, subnets)) / len(subnets) / sum(num_blocks)
    return len(subnets), share


def mean_unshared(num_blocks, lowest):
    """Of all blocks, how many a subnet has after it leaves the main one."""
    subnets = list_subnets(num_blocks, lowest)
    total = 0
    for depths in subnets:
        left = [d < full for d, full in zip(depths, num_blocks)]
        if any(left):
            total += sum(depths[left.index(True) + 1 :])
    return total / len(subnets) / sum(num_blocks)


def test_resnet50s_spaces_are_the_papers(chain):
    layout = measure_stage_layout(chain(3, 4, 6, 3), torch.zeros(1, 3, 4, 4))
    assert layout.blocks == dict(stage1=3, stage2=4, stage3=6, stage4=3)
    assert layout.size == (4, 4) and layout.num_subnets == 1
    assert [(p.min_depth, p.space) for p in layout.proposals] == [
        (1, (3, 4, 6, 3)),
        (2, (2, 3, 5, 2)),
        (3, (1, 2, 4, 1)),
    ]
    for proposal in layout.proposals:
        number, share = mean_share((3, 4, 6, 3), [proposal.min_depth] * 4)
        assert proposal.num_subnets == number
        assert proposal.subnet_cost == pytest.approx(share)
        unshared = mean_unshared((3, 4, 6, 3), [proposal.min_depth] * 4)
        assert proposal.iteration_cost == pytest.approx(1 + unshared, abs=0.01)


def test_stages_with_fewer_blocks_are_kept_whole(chain):
    layout = measure_stage_layout(chain(1, 3, 2), torch.zeros(1, 3, 4, 4))
    assert [(p.min_depth, p.space) for p in layout.proposals] == [
        (1, (1, 3, 2)),
        ([1, 2, 2], (1, 2, 1)),
    ]
    number, share = mean_share((1, 3, 2), (1, 2, 2))
    assert layout.proposals[1].num_subnets == number == 2
    assert layout.proposals[1].subnet_cost == pytest.approx(share)


def test_number_and_sizes_of_the_sampler(chain):
    """At half the size a 1 x 1 convolution costs a quarter."""
    backbone = chain(2, 2)
    sampler = SubnetSampler(num_subnets=5, sizes=[0.5])
    layout = measure_stage_layout(
        backbone, torch.zeros(1, 3, 4, 4), sampler, [1]
    )
    (proposal,) = layout.proposals
    _, share = mean_share((2, 2), (1, 1))
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
    small = measure_stage_layout(chain(2, 3), torch.zeros(1, 3, 4, 4))
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
        assert one.subnet_cost == pytest.approx(other.subnet_cost)
        assert one.iteration_cost == pytest.approx(other.iteration_cost)
    assert set(devices) == ({'meta', 'cpu'} if needs_values else {'meta'})
    # The caller's own network is as it was.
    assert {p.device.type for p in backbone.parameters()} == {'cpu'}


def test_depths_below_one(chain):
    image = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match='not a whole number of at least 1'):
        measure_stage_layout(chain(2, 2), image, min_depths=[0])


def test_table_and_picture(chain):
    layouts = {
        'a': measure_stage_layout(chain(3, 4, 6, 3), torch.zeros(1, 3, 4, 4)),
        'b': measure_stage_layout(chain(2, 5), torch.zeros(1, 3, 4, 4)),
    }
    title, head, *rows = format_layout_table('a', layouts['a']).splitlines()
    assert title == 'a: stage1 3, stage2 4, stage3 6, stage4 3; 4 x 4 px'
    assert head.endswith('K = 1')
    *cells, cost = rows[2].split()
    assert cells == ['3', '[1,', '2,', '4,', '1]', '8', '0.875']
    assert float(cost) == pytest.approx(
        1 + mean_unshared((3, 4, 6, 3), (3, 3, 3, 3)), abs=0.015
    )
    figure = draw_layouts(layouts)
    (axes,) = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[3, 4, 6, 3], [2, 5]]
    lefts = [bar.get_x() for bars in axes.containers for bar in bars]
    widths = {round(bar.get_width(), 6) for bar in axes.patches}
    assert len(widths) == 1
    gaps = torch.tensor(sorted(lefts)).diff()
    assert (gaps >= min(widths) - 1e-6).all()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ['a', 'b']


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
