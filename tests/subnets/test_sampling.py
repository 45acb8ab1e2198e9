"""Spaces and sizes: what can be drawn, and how often it is."""

import itertools
from collections import Counter
from random import Random

import pytest
import torch
import torch.nn.functional as F

from mmst.subnets import (
    InputSizes,
    Path,
    SamplingSpace,
    get_shorter_side,
    resize_inputs,
)

RESNET50 = (3, 4, 6, 3)
# Table 2 of the paper.
TABLE2 = [
    [3, 4, 6, 3],
    [2, 3, 6, 3],
    [2, 3, 5, 2],
    [1, 2, 4, 1],
    [1, 2, 5, 2],
    [1, 2, 4, 2],
]


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


@pytest.mark.parametrize('candidates', TABLE2)
def test_ordered_draws_are_uniform_over_the_space(candidates):
    space, rng = SamplingSpace(RESNET50, candidates), Random(0)
    drawn = Counter(space.sample(rng).depths for _ in range(20000))
    pairs = zip(RESNET50, candidates)
    depths = [range(n - c + 1, n + 1) for n, c in pairs]
    expected = set(itertools.product(*depths))
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
    drawn = Counter(space.sample(rng).paths for _ in range(8000))
    assert len(drawn) == 8
    assert all(paths[0][0] is Path.BRANCH for paths in drawn)
    assert all(Path.BOTH not in stage for paths in drawn for stage in paths)
    assert all(abs(n - 1000) < 5 * 1000**0.5 for n in drawn.values())


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(candidates=[1] * 4, min_depth=1), 'set the same thing'),
        (dict(strategy='raw', min_depth=1), "strategy 'raw' decides"),
        (dict(candidates=[1, 2, 4]), 'has 3 entries'),
        (dict(candidates=[1, 2, 7, 1]), 'stage 3, 7, .*between 1 and 6'),
        (dict(min_depth=0), 'min_depth 0 is not a whole number of at least 1'),
    ],
)
def test_bad_spaces(options, message):
    with pytest.raises(ValueError, match=message):
        SamplingSpace(RESNET50, **options)


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


@pytest.mark.parametrize('strategy', ['ordered', 'stochastic', 'raw'])
def test_drawn_subnets_carry_their_size(strategy):
    space = SamplingSpace((2, 3), strategy=strategy)
    assert space.sample(Random(0), size=0.7).size == 0.7
    assert space.sample(Random(0)).size is None


@pytest.mark.parametrize('size_range', [(8, 8), (0.5, 0.5)])
def test_a_range_may_be_one_size(size_range):
    assert InputSizes(size_range).sample(Random(0)) == size_range[0]


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(size_range=(0.5, 200)),
            r'size_range \(0.5, 200\): sizes must be either all',
        ),
        (dict(size_range=(0, 1)), r'in \(0, 1\]'),
        (dict(size_range=(12.5, 16)), 'whole numbers'),
        (dict(size_range=(16, 8)), 'L_min > L_max'),
        (dict(sizes=[8], size_range=(8, 16)), 'exclude each other'),
    ],
)
def test_bad_sizes(options, message):
    with pytest.raises(ValueError, match=message):
        InputSizes(**options)


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
