"""Choosing among subnets by what they give and what they cost."""

from itertools import combinations, product

import pytest
import torch
from matplotlib.text import Text
from mmengine.registry import MODELS
from torch.overrides import has_torch_function

from mmst.analysis.accuracy_cost import (
    MeasuredNetwork,
    choose_candidates,
    draw_family,
    find_best_at_their_cost,
    format_family_table,
    measure_family,
    measure_model,
    pick_network,
)
from mmst.subnets import SamplingSpace, Subnet, measure_cost
from tests.analysis.pictures import axes_height, check_texts

# Depths, score, FLOPs, parameters, time.
SMALL = MeasuredNetwork((1, 1), 90.0, 1_000_000, 10_000, 3.0)
WIDE = MeasuredNetwork((1, 2), 92.0, 2_000_000, 30_000, 2.0)
POOR = MeasuredNetwork((2, 1), 91.0, 2_500_000, 20_000, 4.0)
MAIN = MeasuredNetwork((2, 2), 93.0, 4_000_000, 40_000, 5.0)
FAMILY = [MAIN, SMALL, POOR, WIDE]


@pytest.mark.parametrize(
    'bounds, expected',
    [
        (dict(min_score=91.0), WIDE),
        (dict(min_score=92.5), MAIN),
        (dict(min_score=0.0), SMALL),
        (dict(max_flops=3e6), WIDE),
        (dict(max_flops=1e6), SMALL),
        (dict(max_flops=4e6), MAIN),
        (dict(min_score=90.0, max_flops=3e6), SMALL),
        (dict(max_params=25_000), POOR),
        (dict(max_latency=4.5), WIDE),
        (dict(max_latency=4.5, max_params=25_000), POOR),
        (dict(max_latency=5.0, min_score=92.5), MAIN),
    ],
)
def test_pick(bounds, expected):
    """Errors are chosen as the scores that they are the mirror of."""
    assert pick_network(FAMILY, **bounds) is expected
    if 'min_score' in bounds:
        bounds = dict(bounds, min_score=100 - bounds['min_score'])
    errors = list(map(mirrored, FAMILY))
    chosen = pick_network(errors, **bounds, rule='less')
    assert chosen == mirrored(expected)


def mirrored(network):
    """A network whose error is what the other lacks of 100."""
    return network._replace(score=100 - network.score)


@pytest.mark.parametrize(
    'bounds, asked, nearest',
    [
        (dict(min_score=93.5), 'a score of at least 93.5', '2-2: score 93'),
        (dict(min_score=89, rule='less'), 'score of at most 89', '1-1: .* 90'),
        (dict(max_flops=9e5), r'at most 0.9 .*\(M\)', '1-1: score 90'),
        (dict(max_params=9_000), 'at most 0.009 parameters', '1-1'),
        (dict(max_latency=1.9), 'at most 1.9 time for one image', '1-2'),
        (dict(min_score=93, max_flops=3e6), '93 and at most 3', '1-2: .* 92'),
    ],
)
def test_budget_that_nothing_meets_names_the_nearest(bounds, asked, nearest):
    with pytest.raises(
        ValueError, match=f'none of the 4 .*{asked}.* nearest is {nearest}'
    ):
        pick_network(FAMILY, **bounds)


@pytest.mark.parametrize(
    'cost, best',
    [
        ('flops', [SMALL, WIDE, MAIN]),
        ('params', [SMALL, POOR, WIDE, MAIN]),
        ('latency', [WIDE, MAIN]),
    ],
)
def test_best_at_their_cost(cost, best):
    """At the same cost, the better one; errors are mirrored scores."""
    twins = [n._replace(score=n.score - 5) for n in FAMILY]
    for family in (FAMILY, twins + FAMILY, FAMILY + twins):
        assert find_best_at_their_cost(family, cost) == best
        errors = list(map(mirrored, family))
        found = find_best_at_their_cost(errors, cost, 'less')
        assert found == list(map(mirrored, best))


def test_table_begins_with_the_cheapest():
    head, *rows = format_family_table(FAMILY, 'top-1 (%)').splitlines()
    assert 'top-1 (%)' in head
    assert [row.split() for row in rows] == [
        ['1-1', '90.00', '1.000', '0.010', '3.000', '*'],
        ['1-2', '92.00', '2.000', '0.030', '2.000', '*'],
        ['2-1', '91.00', '2.500', '0.020', '4.000'],
        ['2-2', '93.00', '4.000', '0.040', '5.000', '*'],
    ]
    fraction = MAIN._replace(score=0.3712)
    assert ' 0.3712 ' in format_family_table([fraction], 'mAP')


def test_picture_has_all_networks_in_every_panel():
    panels = draw_family(FAMILY, 'top-1 (%)').axes
    assert panels[0].get_ylabel() == 'top-1 (%)'
    for axes, cost, unit, label in zip(
        panels,
        ('flops', 'params', 'latency'),
        (1e6, 1e6, 1),
        ('FLOPs of one image (M)', 'parameters (M)', 'time for one image (ms'),
    ):
        assert axes.get_xlabel().startswith(label)
        subnets, best, main = axes.get_lines()
        points = sorted(zip(subnets.get_xdata(), subnets.get_ydata()))
        expected = ((getattr(n, cost) / unit, n.score) for n in FAMILY)
        assert points == sorted(expected)
        assert list(best.get_ydata()) == [
            n.score for n in find_best_at_their_cost(FAMILY, cost)
        ]
        assert list(main.get_ydata()) == [93.0]
    looks = {
        (line.get_color(), line.get_marker()) for line in panels[0].get_lines()
    }
    assert len(looks) == 3


def test_every_network_has_its_name_beside_it():
    """Inside the axes, and none over another."""
    networks = [
        MeasuredNetwork(
            depths,
            60 + sum(depths) + 0.1 * depths[1],
            sum(depths) * 10**8 + depths[2] * 10**6,
            sum(depths) * 10**6,
            3.0 * sum(depths),
            160,
        )
        for depths in product((2, 3), (3, 4), (3, 4, 5, 6), (3,))
    ]
    figure = draw_family(networks, 'accuracy/top1 (%)')
    check_texts(figure)
    axes = figure.axes[0]
    assert 3.4 < axes_height(axes) < 3.8
    places = {text.get_text(): text for text in axes.texts}
    assert sorted(places) == sorted(network.name for network in networks)
    # Without the lines that lead to the points.
    boxes = [Text.get_window_extent(text) for text in places.values()]
    for (x0, y0), (x1, y1) in (box.get_points() for box in boxes):
        assert axes.bbox.contains(x0, y0) and axes.bbox.contains(x1, y1)
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)


def test_candidates_are_spread_over_the_space(load):
    runner = load()
    whole = (2, 2, 2, 2)
    space = SamplingSpace(whole)
    everything = choose_candidates(runner, space, 16)
    assert len(set(everything)) == 16
    cost = measure_cost(runner.model, torch.zeros(1, 3, 32, 32))
    flops = [cost.count(Subnet.ordered(d, whole)) for d in everything]
    assert flops == sorted(flops)
    some = choose_candidates(runner, space, 4)
    assert some == [everything[i] for i in (0, 5, 10, 15)]
    two = choose_candidates(runner, SamplingSpace(whole, [1, 2, 1, 1]), 5)
    assert two == [(2, 1, 2, 2), whole]
    with pytest.raises(ValueError, match='max_subnets 1 .*must be at least 2'):
        choose_candidates(runner, space, 1)


def test_main_network_is_always_measured(load):
    runner = load()
    with pytest.raises(ValueError, match='depth 4 of stage 3'):
        measure_family(runner, [(1, 1, 4, 1)], seconds=0)
    metric, networks = measure_family(
        runner, [(1, 1, 1, 1)], 'mean_score', 4, seconds=0
    )
    assert metric == 'mean_score'
    small, main = networks
    assert (small.depths, main.depths) == ((1, 1, 1, 1), (2, 2, 2, 2))
    model = runner.model
    assert main.params == sum(p.numel() for p in model.parameters())
    skipped = [getattr(model.backbone, f'layer{i}')[1] for i in (1, 2, 3, 4)]
    assert small.params == main.params - sum(
        p.numel() for block in skipped for p in block.parameters()
    )
    assert main.score == runner.val_loop.run()['mean_score']


def test_transformer_is_counted_whole_and_timed_as_it_is_used():
    arch = dict(num_layers=2, num_heads=2, embed_dims=8)
    arch['feedforward_channels'] = 16
    net = dict(type='VisionTransformer', img_size=16, patch_size=4, arch=arch)
    head = dict(type='VisionTransformerClsHead', num_classes=4, in_channels=8)
    model = dict(type='ImageClassifier', backbone=net, head=head)
    model = MODELS.build(model)
    seen = []

    def record(_, images):
        fast = torch.backends.cuda.flash_sdp_enabled()
        seen.append((fast, has_torch_function(images)))

    model.backbone.register_forward_pre_hook(record)
    data = dict(inputs=torch.zeros(1, 3, 16, 16), data_samples=None)
    flops, _, _ = measure_model(model, data, seconds=0)
    patches, tokens = 16, 17
    embedding = patches * (3 * 4 * 4) * 8
    attention = tokens * (8 * 3 * 8 + 8 * 8) + 2 * tokens * tokens * 8
    mlp = tokens * 2 * 8 * 16
    assert flops == embedding + 2 * (attention + mlp) + 8 * 4
    # Three times with the fast kernels, and once counted.
    assert seen == 3 * [(True, False)] + [(False, True)]
