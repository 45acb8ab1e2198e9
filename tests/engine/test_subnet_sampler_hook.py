"""The sampler is a function of (seed, iteration), and reports its space."""

import re
from types import SimpleNamespace

import pytest
import torch

from mmst.engine import SubnetSamplerHook
from mmst.engine.loops import explain_apart
from mmst.subnets import SubnetSampler, predict_iteration_cost
from tests.conftest import build_classifier, classifier, read_log

SAMPLER = dict(num_subnets=3, space=[1, 2, 3], size_range=(8, 16))
LOOP = 'mmst.STEpochBasedTrainLoop'


def test_draws_depend_on_seed_and_iteration_alone():
    model, draws = build_classifier(), []
    for order, seed in ((1, 0), (-1, 0), (-1, 1)):
        runner = dict(model=model, seed=seed, train_loop=None, max_iters=50)
        sampler = SubnetSamplerHook(**SAMPLER).fit(SimpleNamespace(**runner))
        torch.rand(7)  # the global state has no part in it
        draws.append({i: sampler.draw(i) for i in range(50)[::order]})
    assert draws[0] == draws[1] != draws[2]
    assert len(set(map(tuple, draws[0].values()))) > 40
    assert any(len(set(subnets)) > 1 for subnets in draws[0].values())
    for subnets in draws[0].values():
        assert len(subnets) == 3
        for subnet in subnets:
            assert subnet.depths[0] == 3 and subnet.depths[1] >= 2
            assert 8 <= subnet.size <= 16


@pytest.mark.parametrize(
    'begin, by_epoch, epoch_length, first',
    [
        (0, True, None, 0),
        (1, True, 3, 3),
        (4, False, 3, 4),
        (0.3, True, 3, 2),
        (0.3, False, None, 2),
        (1, True, None, 'counts epochs, .* set by_epoch=False'),
        (2, True, 3, 'begin=2 is not before the end of the training, 6'),
        (6, False, 3, 'begin=6 is not before the end'),
        (0.95, True, 3, 'begin=0.95 is not before the end'),
    ],
)
def test_first_iteration_with_subnets(begin, by_epoch, epoch_length, first):
    hook = SubnetSamplerHook(begin=begin, by_epoch=by_epoch)
    if isinstance(first, int):
        assert hook.find_begin(epoch_length, 6) == first
        return
    with pytest.raises(ValueError, match=first):
        hook.find_begin(epoch_length, 6)


def test_loop_trains_what_was_drawn_in_every_nth_iteration(tiny_runner):
    runner = tiny_runner(
        sampler=dict(SAMPLER, begin=1, by_epoch=False, every=3, interval=5),
        max_epochs=4,
    )
    trained, step = [], runner.train_loop.run_iter

    def watch(*args):
        step(*args)
        trained.append(runner.train_loop.subnets)

    runner.train_loop.run_iter = watch
    runner.train()
    assert [*map(len, trained)] == [0, 3, 0, 0, 3, 0, 0, 3, 0, 0, 3, 0]
    sampler = next(h.sampler for h in runner.hooks if hasattr(h, 'sampler'))
    assert trained == [sampler.draw(i) for i in range(12)]
    for num in range(13):
        assert sampler.count_iterations(num) == sum(map(bool, trained[:num]))
    # What is drawn depends on the iteration alone.
    always = SubnetSampler(**SAMPLER, seed=sampler.seed).fit(runner.model)
    assert sampler.draw(10) == always.draw(10)
    text = read_log(runner)
    # One report each five iterations, of the last that had subnets.
    assert re.findall(r'Subnets of iteration (\d+)', text) == ['5', '8']
    (average,) = re.findall(
        r'subnets in one of 3 iterations: ([\d.]+) times on average', text
    )
    one = read_cost(text)
    assert float(average) == pytest.approx(1 + (one - 1) / 3, abs=0.01)
    assert re.search(r'layer3 +3 +\d+\.\d% +3, 2, 1\n', text)
    assert 'drawn from: 8 to 16 px (main input: 16 px' in text
    image = torch.zeros(1, 3, 16, 16)
    expected = predict_iteration_cost(runner.model, image, always)
    assert one == pytest.approx(expected, rel=0.02)
    assert 'passes on one input share the blocks' in text


def read_cost(text):
    """The one predicted cost of an iteration with subnets in a log."""
    pattern = r'predicted cost of an iteration: ([\d.]+) times plain'
    (cost,) = re.findall(pattern, text)
    return float(cost)


@pytest.mark.parametrize('is_guessing', [True, False])
def test_a_network_that_guesses_is_told_of(tiny_runner, is_guessing):
    """Once, after a tenth of the iterations; 2 of 20 here."""
    model = classifier()
    # All logits are equal, or the sure ones of a network at random.
    std = 0.0 if is_guessing else 20.0
    model['head']['head']['init_cfg'] = dict(
        type='Normal', layer='Linear', std=std
    )
    loop = 'mmst.STIterBasedTrainLoop'
    runner = tiny_runner(
        model=model,
        sampler=dict(SAMPLER, begin=0.1),
        loop=loop,
        train_cfg=dict(type=loop, max_iters=20),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
    )
    runner.train()
    text = read_log(runner)
    told = re.findall(r'After (\d+) iterations the main network still', text)
    assert told == (['4'] if is_guessing else [])
    assert ('guessing among 4 classes 1.39' in text) == is_guessing


@pytest.mark.parametrize('strategy', ['stochastic', 'raw'])
def test_other_strategies_train(tiny_runner, strategy):
    runner = tiny_runner(
        sampler=dict(num_subnets=2, strategy=strategy), max_epochs=1
    )
    before = [p.clone() for p in runner.model.parameters()]
    runner.train()
    assert not all(map(torch.equal, before, runner.model.parameters()))


@pytest.mark.parametrize(
    'options, reason',
    [
        (dict(), None),
        (dict(share_prefixes=False), 'share_prefixes=False in train_cfg'),
        (dict(update_running_stats=True), 'every subnet updates running sta'),
        (dict(input_transforms=['flip']), 'each subnet has its own input'),
        (dict(chain_inputs=True), "each subnet's input is made from the prev"),
    ],
)
def test_why_passes_are_apart(options, reason):
    assert (explain_apart(**options) or 'None').startswith(str(reason))


def test_passes_apart_are_reported_and_run_from_their_first_block(tiny_runner):
    sampler = dict(SAMPLER, size_range=(16, 16))
    loop = dict(type=LOOP, max_epochs=1, share_prefixes=False)
    runner = tiny_runner(sampler=sampler, train_cfg=loop)
    trained = []
    conv = runner.model.backbone.layer1[0].conv1
    conv.register_forward_hook(
        # Copies of the model have copies of the layer.
        lambda own, *_: trained.append(own is conv and own.training)
    )
    runner.train()
    text = read_log(runner)
    assert 'each pass runs by itself: share_prefixes=False' in text
    image = torch.zeros(1, 3, 16, 16)
    plain = SubnetSampler(**dict(sampler, size_range=None)).fit(runner.model)
    apart = predict_iteration_cost(runner.model, image, plain, share=False)
    assert read_cost(text) == pytest.approx(apart, abs=0.006)
    assert sum(trained) == 3 * 4  # iterations, passes
