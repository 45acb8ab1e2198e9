"""Draws of the sampler: sizes that subnets share, and all subnets."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from mmst.subnets import SubnetSampler

torchvision = pytest.importorskip('torchvision')
SPACE = dict(space=[1, 2, 2, 1], size_range=(32, 64))


@pytest.fixture(scope='module')
def model() -> nn.Module:
    return torchvision.models.resnet18(num_classes=3)


@pytest.mark.parametrize('num_sizes', [1, 2, 4])
def test_subnets_share_sizes_and_keep_their_depths(model, num_sizes):
    """Depths and the sizes that stay are those of subnets of their own."""
    apart = SubnetSampler(4, **SPACE).fit(model)
    shared = SubnetSampler(4, num_sizes=num_sizes, **SPACE).fit(model)
    for iteration in range(20):
        own, drawn = apart.draw(iteration), shared.draw(iteration)
        assert [s.depths for s in own] == [s.depths for s in drawn]
        sizes = [subnet.size for subnet in drawn]
        assert len(set(sizes)) <= num_sizes
        assert sizes == [own[k % num_sizes].size for k in range(4)]


def test_every_subnet_keeps_its_distribution(model):
    """Sizes 1 to 3, each in a third of the draws, whatever is shared."""
    sampler = SubnetSampler(3, sizes=[32, 48, 64], num_sizes=1).fit(model)
    counts = Counter(sampler.draw(i)[2].size for i in range(3000))
    assert all(abs(counts[n] - 1000) < 130 for n in (32, 48, 64))


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
    'options, reason',
    [
        (dict(num_subnets='all'), 'trains the smallest subnet in every'),
        (dict(strategy='raw'), 'no subnet is the smallest'),
    ],
)
def test_sandwich_needs_a_smallest(options, reason):
    with pytest.raises(ValueError, match=f'sandwich=True: .*{reason}'):
        SubnetSampler(sandwich=True, **options)


def test_too_many_subnets_are_refused():
    """Of stages of 9 and 8 blocks in the layout of a ResNet."""
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
