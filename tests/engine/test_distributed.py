"""Two real processes, gloo on a CPU: one pair runs all that is tested."""

import logging
import os
import tempfile
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_rank
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import distributed as torch_dist
from torch import multiprocessing, nn
from torch.utils.data import DataLoader

from mmst.engine import SubnetSamplerHook
from mmst.engine.rehearsal import rehearse
from mmst.engine.step import reduce_gradients, st_step
from mmst.evaluation import reestimate_statistics
from mmst.subnets import Subnet, SubnetInputs, SubnetSampler
from tests.analysis.evaluation_by_hand import (
    NUM_TRAIN,
    VALIDATION,
    by_hand,
    loader,
)
from tests.conftest import (
    batch,
    build_classifier,
    classifier,
    load_run,
    logged,
    sgd,
)
from tests.engine.test_checks import check

FULL = (3, 3, 3)
# The last block of the first stage is left out by all of these, on both
# ranks; each of the others by some.
SUBNETS = [
    [Subnet.ordered((2, 3, 1), FULL, 12)],
    [Subnet.ordered((1, 1, 1), FULL, 0.5), Subnet.ordered((2, 2, 3), FULL)],
    [],
    # They share prefixes among themselves and with the main network.
    [
        Subnet.ordered(depths, FULL, size)
        for depths in [(2, 1, 2), (2, 3, 2), (2, 3, 1)]
        for size in (10, None)
    ],
]


def start_ranks(rank, folder, functions):
    """Save what functions return on one of two ranks."""
    torch.set_num_threads(1)
    os.environ['LOCAL_RANK'] = str(rank)
    # A file as the meeting point: no port that another test may take.
    torch_dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/meeting',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=300),
    )
    torch.save(
        {function.__name__: function() for function in functions},
        f'{folder}/{rank}.pth',
    )
    # Nobody leaves while another still talks to it.
    torch_dist.barrier()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What each of FUNCTIONS returned in each of two ranks."""
    folder = tmp_path_factory.mktemp('ranks')
    multiprocessing.spawn(start_ranks, (str(folder), FUNCTIONS), nprocs=2)
    return [load_run(folder / f'{rank}.pth') for rank in range(2)]


def train(wrap, accumulative_counts=1):
    """Some iterations, each rank on its half of the batch."""
    torch.manual_seed(0)
    model = build_classifier(
        norm='GN', loss_kl=dict(type='mmst.KLMinusLoss', normalize=None)
    )
    optim_wrapper = sgd(model, accumulative_counts=accumulative_counts)
    wrapped = MMDistributedDataParallel(model) if wrap else model
    for iteration in range(4 * accumulative_counts):
        data = batch(8, seed=iteration)
        if wrap:
            start = 4 * get_rank()
            data = {k: part[start : start + 4] for k, part in data.items()}
        subnets = SUBNETS[iteration % 4]
        if subnets:
            st_step(wrapped, data, optim_wrapper, subnets)
        else:
            wrapped.train_step(data, optim_wrapper)
    return {name: p.detach() for name, p in model.named_parameters()}


def trained():
    return {counts: train(True, counts) for counts in (1, 2)}


@pytest.mark.parametrize('counts', [1, 2])
def test_ranks_agree_with_each_other_and_with_one(ranks, counts):
    """Contract 5: bit for bit, and as one process on the joined batch."""
    first, second = (rank['trained'][counts] for rank in ranks)
    single = train(False, counts)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, single, rtol=1e-9, atol=1e-11)


def buffers(is_st, broadcast_buffers):
    """Running statistics after two iterations that change no weight."""
    torch.manual_seed(0)
    model = build_classifier()
    optim_wrapper = sgd(model, lr=0.0)
    wrapped = MMDistributedDataParallel(
        model, broadcast_buffers=broadcast_buffers
    )
    for iteration in range(2):
        data = batch(4, seed=2 * iteration + get_rank())
        if is_st:
            st_step(wrapped, data, optim_wrapper, SUBNETS[1])
        else:
            wrapped.train_step(data, optim_wrapper)
    return [buffer.clone() for buffer in model.buffers()]


def broadcast():
    """Plain steps with and without broadcast, and ST steps with it."""
    return buffers(False, False), buffers(False, True), buffers(True, True)


def test_buffers_are_broadcast_as_without_subnets(ranks):
    for rank, result in enumerate(ranks):
        local, plain, st = result['broadcast']
        assert all(map(torch.equal, plain, st))
        assert all(map(torch.equal, local, plain)) is (rank == 0)


def reduce_some():
    """Rank 0 lacks the first gradient, both lack the last."""
    a, b, c = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    if get_rank() == 1:
        a.grad = torch.tensor([2.0, 4.0])
    b.grad = torch.full((2,), float(get_rank()))
    reduce_gradients([a, b, c])
    return [a.grad, b.grad, c.grad]


def test_gradients_that_only_some_ranks_have(ranks):
    for a, b, c in (rank['reduce_some'] for rank in ranks):
        assert torch.equal(a, torch.tensor([1.0, 2.0]))
        assert torch.equal(b, torch.tensor([0.5, 0.5]))
        assert c is None


def one_bad_loss():
    """The loss is not finite on rank 1 alone; message and weights moved."""
    torch.manual_seed(0)
    model = build_classifier(loss_kl=dict(type='mmst.KLMinusLoss'))
    if get_rank() == 1:
        model.head.loss_kl.loss_weight = float('inf')
    wrapped = MMDistributedDataParallel(model)
    before = [p.detach().clone() for p in model.parameters()]
    try:
        st_step(wrapped, batch(4), sgd(wrapped), SUBNETS[0])
    except FloatingPointError as error:
        message = str(error)
    return message, list(map(torch.equal, before, model.parameters()))


def test_no_rank_steps_where_one_has_a_bad_loss(ranks):
    for rank, result in enumerate(ranks):
        message, is_same = result['one_bad_loss']
        assert 'not finite in subnet 0 (2-3-1 at 12 px): ' in message
        assert ('not finite on another rank' in message) is (rank == 0)
        assert all(is_same)


SHARES = ((4, 6), (0, 10))


def pooled_statistics():
    """Each rank re-estimates BatchNorm from its share of the images."""
    found = []
    for first, second in SHARES:
        torch.manual_seed(0)
        model = build_classifier()
        data = batch(10)
        start, end = [(0, first), (first, first + second)][get_rank()]
        share = {name: part[start:end] for name, part in data.items()}
        with reestimate_statistics(model, [share] if end > start else []):
            norm = model.backbone.norm1
            found.append((norm.running_mean.clone(), norm.running_var.clone()))
    return found


def test_statistics_are_pooled_over_processes(ranks):
    """One of the processes may have no image."""
    torch.manual_seed(0)
    model = build_classifier()
    x = model.backbone.conv1((batch(10)['inputs'] - 127.5) / 64)
    for rank in ranks:
        for mean, var in rank['pooled_statistics']:
            torch.testing.assert_close(mean, x.mean((0, 2, 3)))
            # Each share's variance is the unbiased one: one part in 1024.
            torch.testing.assert_close(
                var, x.var((0, 2, 3), unbiased=False), rtol=2e-3, atol=0
            )


def reported():
    """Weights after two epochs, and the reports on subnets."""
    settings = dict(
        model=classifier(),
        work_dir=tempfile.mkdtemp(),
        train_dataloader=loader(NUM_TRAIN // 2, NUM_TRAIN),
        train_cfg=dict(type='mmst.STEpochBasedTrainLoop', max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
        custom_hooks=[
            dict(type='mmst.SubnetSamplerHook', num_subnets=1),
            dict(type='mmst.SubnetMetricsHook'),
        ],
        visualizer=dict(
            type='UniversalVisualizer',
            vis_backends=[dict(type='LocalVisBackend')],
        ),
        model_wrapper_cfg=dict(
            type='MMDistributedDataParallel', device_ids=None
        ),
        default_scope='mmpretrain',
        randomness=dict(seed=0),
        launcher='pytorch',
        experiment_name='reported',
        **dict(VALIDATION, val_evaluator=dict(type='MeanScore')),
    )
    runner = Runner.from_cfg(Config(settings))
    runner.train()
    lines = logged(runner.work_dir, 'subnets.json')
    return runner.model.module.state_dict(), lines


def test_reports_on_subnets(ranks):
    """Ranks go on alike; the subnet is that of joined data."""
    (state, lines), (other, _) = (rank['reported'] for rank in ranks)
    model, twin = (build_classifier(double=False) for _ in range(2))
    model.load_state_dict(state)
    twin.load_state_dict(other)
    assert all(map(torch.equal, model.parameters(), twin.parameters()))
    line = [x for x in lines if 'subnet_1-1-1/mean_score' in x][-1]
    assert line['step'] == 2
    for depths in ((1, 1, 1), (2, 2, 2)):
        score = line['subnet_{}-{}-{}/mean_score'.format(*depths)]
        _, mean = by_hand(model, depths, NUM_TRAIN)
        # Each share has an unbiased variance of its own.
        assert score == pytest.approx(mean, rel=2e-3)


def drawn():
    """Subnets of a few iterations; the ranks' own seeds differ."""
    model = MMDistributedDataParallel(build_classifier())
    runner = SimpleNamespace(
        model=model, seed=5 + get_rank(), train_loop=None, max_iters=5
    )
    sampler = SubnetSamplerHook(num_subnets=3).fit(runner)
    return [sampler.draw(iteration) for iteration in range(5)]


def test_ranks_draw_the_same_subnets(ranks):
    """From the first rank's seed, also under `diff_rank_seed`."""
    sampler = SubnetSampler(3, seed=5).fit(build_classifier())
    for rank in ranks:
        assert rank['drawn'] == [sampler.draw(i) for i in range(5)]


class OwnStep(MMDistributedDataParallel):
    """A wrapper that trains in a way of its own."""

    def train_step(self, data, optim_wrapper):
        return {}


def checked():
    """Message on each wrapped model, or that it is taken."""
    messages = []
    for wrapper, st, options in (
        (MMDistributedDataParallel, True, dict()),
        (MMDistributedDataParallel, False, dict()),
        (MMDistributedDataParallel, True, dict(static_graph=True)),
        (OwnStep, True, dict()),
    ):
        try:
            check(wrapper(build_classifier(st=st), **options))
            messages.append('taken')
        except ValueError as error:
            messages.append(str(error))
    return messages


def test_wrapped_models_are_checked(ranks):
    for rank in ranks:
        taken, refused, static, own = rank['checked']
        assert taken == 'taken'
        assert 'model.head is LinearClsHead' in refused
        assert 'set static_graph=False' in static
        assert 'not with OwnStep: change `model_wrapper_cfg`' in own


class SyncedNorm(nn.BatchNorm2d):
    """Asks the other rank in each pass, as SyncBN does in training."""

    def forward(self, inputs):
        mean = inputs.mean((0, 2, 3), keepdim=True)
        all_reduce(mean, 'mean')
        return super().forward(inputs) + 0 * mean.detach()


class Chancy(nn.Module):
    """A block that draws inside, on one rank alone."""

    downsample = None

    def forward(self, x):
        order = np.random.permutation(4) if get_rank() else range(4)
        return x[:, [*order]]


def rehearsed():
    """Findings of both ranks, of a sound network and of one that is not."""
    found = []
    for is_sound in (True, False):
        model = build_classifier(double=False)
        model.backbone.add_module(model.backbone.norm1_name, SyncedNorm(4))
        # With the first weights all networks agree, whatever they draw.
        model.head.fc.weight.data.mul_(100)
        if not is_sound:
            model.backbone.layer1[1] = Chancy()
        runner = SimpleNamespace(
            model=MMDistributedDataParallel(model),
            optim_wrapper=sgd(model),
            iter=0,
            logger=logging.getLogger('rehearsal'),
        )
        loop = SimpleNamespace(
            runner=runner,
            subnet_inputs=SubnetInputs(),
            update_running_stats=False,
            why_apart=None,
            dataloader=DataLoader(list(range(8)), batch_size=4),
        )
        sampler = SubnetSampler(4).fit(model)
        data = batch(4, seed=get_rank(), double=False)
        before = [p.clone() for p in model.parameters()]
        found.append(rehearse(loop, sampler, data))
        assert all(map(torch.equal, before, model.parameters()))
        assert all(p.grad is None for p in model.parameters())
    return found


def test_rehearsals_of_all_ranks_agree(ranks):
    """Rank 1 finds what both then do."""
    for rank in ranks:
        (sound, _), (chancy, _) = rank['rehearsed']
        assert sound is None
        assert 'sharing blocks would be wrong' in chancy
    assert ranks[0]['rehearsed'] == ranks[1]['rehearsed']


FUNCTIONS = (
    trained,
    broadcast,
    reduce_some,
    one_bad_loss,
    pooled_statistics,
    drawn,
    checked,
    rehearsed,
    reported,
)
