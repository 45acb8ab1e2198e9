"""The sampler is a function of (seed, iteration), and reports its space."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from mmst.subnets import (
    Block,
    Stage,
    SubnetSampler,
    predict_iteration_cost,
    register_stage_finder,
)
from mmst.subnets.stages import _FINDERS
from tests.conftest import classifier

SAMPLER = dict(num_subnets=3, space=[1, 2, 3], size_range=(8, 16))


def sampler_of(runner):
    return next(h.sampler for h in runner.hooks if hasattr(h, 'sampler'))


def test_draws_depend_on_seed_and_iteration_alone(tiny_runner):
    draws = []
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        runner = tiny_runner(
            name, sampler=SAMPLER, max_epochs=1, randomness=dict(seed=seed)
        )
        runner.train()
        torch.rand(7)  # the global state has no part in it
        sampler = sampler_of(runner)
        order = range(50) if name == 'a' else reversed(range(50))
        draws.append({i: sampler.draw(i) for i in order})
    assert draws[0] == draws[1] != draws[2]
    assert len(set(map(tuple, draws[0].values()))) > 40
    assert any(len(set(subnets)) > 1 for subnets in draws[0].values())
    for subnets in draws[0].values():
        assert len(subnets) == 3
        for subnet in subnets:
            assert subnet.depths[0] == 3 and subnet.depths[1] >= 2
            assert 8 <= subnet.size <= 16


def test_loop_trains_what_was_drawn(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER)
    trained = []
    step = runner.train_loop._run_st_iter

    def watch(*args):
        step(*args)
        trained.append(runner.train_loop.subnets)

    runner.train_loop._run_st_iter = watch
    runner.train()
    assert trained == [sampler_of(runner).draw(i) for i in range(6)]


@pytest.mark.parametrize(
    'begin, by_epoch, first',
    [(1, True, 3), (4, False, 4), (0.3, True, 2), (0.3, False, 2)],
)
def test_first_iteration_with_subnets(tiny_runner, begin, by_epoch, first):
    runner = tiny_runner(sampler=dict(SAMPLER, begin=begin, by_epoch=by_epoch))
    counts = []
    step = runner.train_loop._run_st_iter

    def watch(*args):
        step(*args)
        counts.append(len(runner.train_loop.subnets))

    runner.train_loop._run_st_iter = watch
    runner.train()
    assert counts == [0] * first + [3] * (6 - first)


def test_subnets_in_every_nth_iteration(tiny_runner):
    runner = tiny_runner(
        sampler=dict(SAMPLER, begin=1, by_epoch=False, every=3, interval=5),
        max_epochs=4,
    )
    counts = []
    step = runner.train_loop._run_st_iter

    def watch(*args):
        step(*args)
        counts.append(len(runner.train_loop.subnets))

    runner.train_loop._run_st_iter = watch
    runner.train()
    assert counts == [0, 3, 0, 0, 3, 0, 0, 3, 0, 0, 3, 0]
    sampler = sampler_of(runner)
    for num in range(13):
        assert sampler.count_iterations(num) == sum(map(bool, counts[:num]))
    # What is drawn depends on the iteration alone.
    always = SubnetSampler(**SAMPLER, seed=sampler.seed).fit(runner.model)
    assert sampler.draw(10) == always.draw(10)
    text = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    # One report each five iterations, of the last that had subnets.
    assert re.findall(r'Subnets of iteration (\d+)', text) == ['5', '8']
    one, average = (
        float(re.search(pattern, text)[1])
        for pattern in (
            r'cost of an iteration: ([\d.]+) times plain',
            r'subnets in one of 3 iterations: ([\d.]+) times on average',
        )
    )
    assert average == pytest.approx(1 + (one - 1) / 3, abs=0.01)


@pytest.mark.parametrize('is_guessing', [True, False])
def test_a_network_that_guesses_is_told_of(tiny_runner, is_guessing):
    """Once, after a tenth of the iterations; 2 of 20 here."""
    model = classifier()
    # All logits are equal, or the sure ones of a network at random.
    std = 0.0 if is_guessing else 20.0
    model['head']['head']['init_cfg'] = dict(
        type='Normal', layer='Linear', std=std
    )
    runner = tiny_runner(
        model=model,
        sampler=dict(SAMPLER, begin=0.1),
        loop='mmst.STIterBasedTrainLoop',
        train_cfg=dict(type='mmst.STIterBasedTrainLoop', max_iters=20),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
    )
    runner.train()
    text = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    told = re.findall(r'After (\d+) iterations the main network still', text)
    assert told == (['4'] if is_guessing else [])
    assert ('guessing among 4 classes 1.39' in text) == is_guessing


@pytest.mark.parametrize('every', [0, 1.5, True])
def test_every_is_a_whole_number(every):
    with pytest.raises(ValueError, match=f'every {every!r} is not a whole'):
        SubnetSampler(every=every)


@pytest.mark.parametrize('strategy', ['stochastic', 'raw'])
def test_other_strategies_train(tiny_runner, strategy):
    runner = tiny_runner(sampler=dict(num_subnets=2, strategy=strategy))
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    assert runner.iter == 6
    assert any(
        not torch.equal(before[k], v)
        for k, v in runner.model.state_dict().items()
    )


@pytest.fixture
def chain(monkeypatch):
    """Four blocks of a family of its own; the first has no shortcut."""
    monkeypatch.setattr('mmst.subnets.stages._FINDERS', dict(_FINDERS))

    def make(branch_only):
        net = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(4)))
        first, *rest = net

        @register_stage_finder('Mine')
        def find(backbone):
            return (
                [
                    Stage(
                        'all',
                        (
                            Block(first, None),
                            *(
                                Block(block, branch_only=branch_only)
                                for block in rest
                            ),
                        ),
                    )
                ]
                if backbone is net
                else None
            )

        return net

    return make


def test_raw_draws_keep_blocks_without_a_shortcut(chain):
    sampler = SubnetSampler(num_subnets=20, strategy='raw')
    sampler.fit(chain(lambda module: nullcontext()))
    stages = [subnet.paths[0] for subnet in sampler.draw(0)]
    assert all(paths[0] == 'branch' for paths in stages)
    assert any('shortcut' in paths for paths in stages)


def test_raw_needs_branches(chain):
    sampler = SubnetSampler(strategy='raw')
    with pytest.raises(
        ValueError,
        match="'raw' is not supported for Identity in "
        "all, .*: set strategy to 'ordered' or",
    ):
        sampler.fit(chain(None))


def test_report_tells_space_and_cost(tiny_runner):
    runner = tiny_runner(sampler=SAMPLER, max_epochs=1)
    runner.train()
    text = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert re.search(r'layer3 +3 +\d+\.\d% +3, 2, 1\n', text)
    assert 'drawn from: 8 to 16 px (main input: 16 px' in text
    assert text.count('predicted cost of an iteration') == 1
    printed = float(
        re.search(r'predicted cost of an iteration: ([\d.]+)', text)[1]
    )
    image = torch.zeros(1, 3, 16, 16)
    sampler = SubnetSampler(**SAMPLER).fit(runner.model)
    expected = predict_iteration_cost(runner.model, image, sampler)
    assert printed == pytest.approx(expected, rel=0.02)
    assert 'passes on one input share the blocks' in text


@pytest.mark.parametrize(
    'options, reason',
    [
        (dict(share_prefixes=False), 'share_prefixes=False in train_cfg'),
        (dict(update_running_stats=True), 'every subnet updates running'),
        (dict(input_transforms=['flip']), 'each subnet has its own input'),
        (dict(chain_inputs=True), "each subnet's input is made from the"),
    ],
)
def test_report_tells_why_passes_are_apart(tiny_runner, options, reason):
    """And each pass is run from its first block on."""
    train_cfg = dict(type='mmst.STEpochBasedTrainLoop', max_epochs=1)
    runner = tiny_runner(
        sampler=dict(SAMPLER, size_range=(16, 16)),
        train_cfg=dict(train_cfg, **options),
    )
    trained = []
    conv = runner.model.backbone.layer1[0].conv1
    conv.register_forward_hook(
        # Copies of the model have copies of the layer.
        lambda own, *_: trained.append(own is conv and own.training)
    )
    runner.train()
    text = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert f'each pass runs by itself: {reason}' in text
    printed = float(
        re.search(r'predicted cost of an iteration: ([\d.]+)', text)[1]
    )
    image = torch.zeros(1, 3, 16, 16)
    sampler = SubnetSampler(**dict(SAMPLER, size_range=None))
    sampler.fit(runner.model)
    apart = predict_iteration_cost(runner.model, image, sampler, share=False)
    assert printed == pytest.approx(apart, abs=0.006)
    assert sum(trained) == 3 * 4  # iterations, passes
