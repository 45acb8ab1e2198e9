"""Spaces, sizes and samplers: what can be drawn, and how often it is."""

from collections import Counter
from itertools import product
from random import Random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmst.subnets import (
    InputSizes,
    Path,
    SamplingSpace,
    SubnetSampler,
    get_shorter_side,
    resize_inputs,
)

torchvision = pytest.importorskip('torchvision')
SPACE = dict(space=[1, 2, 2, 1], size_range=(32, 64))
RESNET50 = (3, 4, 6, 3)


def test_two_spellings_of_one_space():
    paper = SamplingSpace(RESNET50, [1, 2, 4, 1])
    assert paper.depths == ((3,), (4, 3), (6, 5, 4, 3), (3,))
    assert SamplingSpace(RESNET50).candidates == RESNET50
    for blocks, depths, candidates in (
        (RESNET50, 3, (1, 2, 4, 1)),
        ((3, 4, 23, 3), 3, (1, 2, 21, 1)),
        (RESNET50, [2, 2, 2, 2], (2, 3, 5, 2)),
        # Beyond a stage's depth it keeps the stage whole.
        ((2, 3, 6), 4, (1, 1, 3)),
        ((2, 3), [5, 1], (1, 3)),
    ):
        space = SamplingSpace(blocks, min_depth=depths)
        assert space.candidates == candidates


# The widest and the best of the paper's Table 2.
@pytest.mark.parametrize('candidates', [[3, 4, 6, 3], [1, 2, 4, 1]])
def test_ordered_draws_are_uniform_over_the_space(candidates):
    space, rng = SamplingSpace(RESNET50, candidates), Random(0)
    drawn = Counter(space.sample(rng).depths for _ in range(20000))
    pairs = zip(RESNET50, candidates)
    depths = [range(n - c + 1, n + 1) for n, c in pairs]
    expected = set(product(*depths))
    assert set(drawn) == expected
    mean = 20000 / len(expected)
    # Five standard deviations of a multinomial count.
    assert all(abs(n - mean) < 5 * mean**0.5 for n in drawn.values())


def test_stochastic_draws():
    space = SamplingSpace((1, 4), min_depth=[1, 2], strategy='stochastic')
    rng = Random(0)
    drawn = Counter()
    for _ in range(12000):
        subnet = space.sample(rng)
        assert subnet.paths[0] == (Path.BOTH,)
        assert set(subnet.paths[1]) <= {Path.BOTH, Path.SHORTCUT}
        drawn[tuple(path is Path.BOTH for path in subnet.paths[1])] += 1
    # 3 + 3 + 1 choices among the last three blocks, depths equally likely.
    assert len(drawn) == 7 and all(kept[0] for kept in drawn)
    by_depth = Counter()
    for kept, count in drawn.items():
        by_depth[sum(kept)] += count
        share = {2: 1 / 9, 3: 1 / 9, 4: 1 / 3}[sum(kept)]
        assert abs(count - 12000 * share) < 5 * (12000 * share) ** 0.5
    assert set(by_depth) == {2, 3, 4}


def test_raw_draws_a_path_for_every_block():
    space = SamplingSpace(
        (2, 2), strategy='raw', has_shortcut=[[False, True], [True, True]]
    )
    rng = Random(0)
    drawn = Counter(space.sample(rng, 0.7) for _ in range(8000))
    assert len(drawn) == 8
    for subnet, number in drawn.items():
        assert subnet.paths[0][0] is Path.BRANCH and subnet.size == 0.7
        assert Path.BOTH not in sum(subnet.paths, ())
        assert abs(number - 1000) < 5 * 1000**0.5


def test_pixel_range_is_uniform_over_its_integers():
    sizes, rng = InputSizes((86, 200)), Random(0)
    drawn = Counter(sizes.sample(rng) for _ in range(115 * 200))
    assert set(drawn) == set(range(86, 201))
    assert all(abs(n - 200) < 5 * 200**0.5 for n in drawn.values())


def test_fractions_lists_and_none():
    rng = Random(0)
    values = [InputSizes((0.43, 1)).sample(rng) for _ in range(2000)]
    assert 0.43 <= min(values) < 0.44 and 0.99 < max(values) <= 1
    # Table 1: np.linspace(128, 224, 4)
    choice = InputSizes(sizes=[128, 160, 192, 224])
    assert {choice.sample(rng) for _ in range(100)} == {128, 160, 192, 224}
    assert InputSizes().sample(rng) is None
    for size in (8, 0.5):
        assert InputSizes((size, size)).sample(rng) == size


@pytest.mark.parametrize(
    'size, shape',
    [
        (10, (10, 15)),
        (0.5, (10, 15)),
        (7, (7, 10)),
        (30, (30, 45)),
        (20, (20, 30)),
        (None, (20, 30)),
        (1.0, (20, 30)),
        (0.001, (1, 2)),
        (9, (9, 14)),
        (0.49, (10, 15)),
    ],
)
def test_resize_keeps_the_aspect(size, shape):
    inputs = torch.rand(2, 3, 20, 30)
    small = resize_inputs(inputs, size)
    assert small.shape == (2, 3, *shape)
    assert get_shorter_side(inputs, size) == shape[0]
    if shape == (20, 30):
        assert small is inputs
    else:
        assert torch.equal(
            small, F.interpolate(inputs, shape, mode='bilinear')
        )


@pytest.fixture(scope='module')
def model() -> nn.Module:
    return torchvision.models.resnet18(num_classes=3)


@pytest.mark.parametrize('num_sizes', [1, 2, 4])
def test_subnets_share_sizes_and_keep_their_depths(model, num_sizes):
    """Depths and the sizes that stay are those of subnets of their own.

    So every subnet keeps its distribution, whatever is shared.
    """
    apart = SubnetSampler(4, **SPACE).fit(model)
    shared = SubnetSampler(4, num_sizes=num_sizes, **SPACE).fit(model)
    for iteration in range(20):
        own, drawn = apart.draw(iteration), shared.draw(iteration)
        assert [s.depths for s in own] == [s.depths for s in drawn]
        sizes = [subnet.size for subnet in drawn]
        assert sizes == [own[k % num_sizes].size for k in range(4)]
    assert max(len({s.size for s in apart.draw(i)}) for i in range(20)) == 4


def test_all_subnets(model):
    sampler = SubnetSampler('all', num_sizes=1, **SPACE).fit(model)
    assert sampler.num_subnets == 4
    drawn = sampler.draw(7)
    assert {s.depths for s in drawn} == set(product([2], [2, 1], [2, 1], [2]))
    assert len({subnet.size for subnet in drawn}) == 1
    assert sampler.draw(7) == drawn


@pytest.mark.parametrize('num_sizes', [None, 1])
@pytest.mark.parametrize('strategy', ['ordered', 'stochastic'])
def test_sandwich(model, strategy, num_sizes):
    """The first is the smallest; the others are as without."""
    options = dict(SPACE, strategy=strategy, num_sizes=num_sizes)
    plain = SubnetSampler(3, **options).fit(model)
    sandwich = SubnetSampler(3, sandwich=True, **options).fit(model)
    for iteration in range(10):
        first, *others = sandwich.draw(iteration)
        assert first.depths == (2, 1, 1, 2) and first.size == 32
        assert others == plain.draw(iteration)[1:]
        assert sandwich.draw(iteration) == [first, *others]
    full_size = SubnetSampler(1, space=[1, 2, 2, 1], sandwich=True).fit(model)
    assert full_size.draw(0)[0].size is None


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(space=[1] * 4, min_depth=1), 'set the same thing'),
        (dict(strategy='raw', min_depth=1), "strategy 'raw' decides"),
        (dict(space=[1, 2, 4]), 'has 3 entries'),
        (dict(space=[1, 2, 7, 1]), 'stage 3, 7, .*between 1 and 2'),
        (dict(sizes=[8], size_range=(8, 16)), 'exclude each other'),
        (dict(sandwich=True, num_subnets='all'), 'trains the smallest subnet'),
        (dict(sandwich=True, strategy='raw'), 'no subnet is the smallest'),
    ],
)
def test_options_that_do_not_fit(model, options, message):
    """Neither each other nor the network; tests/test_options.py has more."""
    with pytest.raises(ValueError, match=message):
        SubnetSampler(**options).fit(model)


def test_too_many_subnets_are_refused():
    """The stages have 9 and 8 blocks, laid out as in a ResNet."""
    block, net = torchvision.models.resnet.BasicBlock, nn.Sequential()
    for name, depth in dict(layer1=9, layer2=8).items():
        blocks = [block(4, 4) for _ in range(depth)]
        net.add_module(name, nn.Sequential(*blocks))
    with pytest.raises(ValueError, match='would train 72 subnets.*than 64'):
        SubnetSampler('all').fit(net)
    assert SubnetSampler('all', min_depth=2).fit(net).num_subnets == 56


def test_begin_and_model():
    sampler = SubnetSampler(begin=3)
    with pytest.raises(RuntimeError, match='call sampler.fit'):
        sampler.draw(3)
    assert sampler.draw(2) == []


def test_numbers_of_iterations_are_whole(model):
    sampler = SubnetSampler(2, size_range=(0.5, 1.0)).fit(model)
    for number in (np.int64(3), torch.tensor(3)):
        assert sampler.draw(number) == sampler.draw(3)
    for number in (3.0, 0.5, np.float32(3)):
        with pytest.raises(TypeError, match='iteration .* not a whole'):
            sampler.draw(number)
