"""The trial on two real ranks: one refuses, both say so, and none waits.

SyncBN itself needs an accelerator; a norm layer of the test's own has its
collective operations on a CPU.
"""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather_object, all_reduce, get_rank
from mmengine.model import MMDistributedDataParallel
from torch import multiprocessing, nn
from torch.utils.data import DataLoader

from mmst.engine import STEpochBasedTrainLoop, SubnetSamplerHook
from mmst.engine.raise_together import raise_together
from mmst.engine.trial import SubnetTrial
from mmst.subnets import SubnetInputs, SubnetSampler, get_active_subnet
from tests.conftest import batch, build_classifier, load_run, sgd

from .test_distributed import start_ranks


class SyncedNorm(nn.BatchNorm2d):
    """Asks the other rank in each pass, as SyncBN does in training."""

    passes = 0

    def forward(self, inputs):
        self.passes += 1
        assert self.training
        assert len(set(all_gather_object(self.passes))) == 1
        mean = inputs.mean((0, 2, 3), keepdim=True)
        all_reduce(mean, 'mean')
        return super().forward(inputs) + 0 * mean


class Picky(nn.Module):
    """A neck that cannot take a subnet's images on one rank."""

    def forward(self, features):
        (feature,) = features
        small = get_active_subnet() and feature.shape[-1] < 3
        if small and get_rank() == 1:
            raise RuntimeError('no room')
        return (feature.mean((2, 3)),)


def message_of(function):
    try:
        function()
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def try_subnets(num_images, drop_last, neck=None, **options):
    """The trial's message, and whether it left a trace, on this rank."""
    torch.manual_seed(0)
    model = build_classifier(double=False)
    model.backbone.add_module(model.backbone.norm1_name, SyncedNorm(4))
    if neck is not None:
        model.neck = neck
    loader = DataLoader(
        list(range(num_images)),
        batch_size=4,
        sampler=DefaultSampler(range(num_images), round_up=False),
        drop_last=drop_last,
    )
    loop = SimpleNamespace(
        subnet_inputs=SubnetInputs(),
        update_running_stats=False,
        dataloader=loader,
    )
    runner = SimpleNamespace(
        model=MMDistributedDataParallel(model),
        optim_wrapper=sgd(model),
        train_loop=loop,
    )
    data = batch(4, seed=get_rank(), double=False)
    sampler = SubnetSampler(1, **options).fit(model)
    before = deepcopy(model.state_dict()), torch.get_rng_state()
    message = message_of(SubnetTrial(runner, sampler, data).run)
    after = model.state_dict(), torch.get_rng_state()
    same = torch.equal(before[1], after[1]) and all(
        torch.equal(value, after[0][name]) for name, value in before[0].items()
    )
    # Another collective operation, in which a rank behind would be found.
    return message, same, all_gather_object(model.backbone.norm1.passes)


def last_batch():
    """Rank 0 has five images, rank 1 four: the last batches are 1 and 4."""
    return try_subnets(9, False, sizes=[3])


def one_rank_too_small():
    return try_subnets(8, False, Picky(), sizes=[8, 16])


def fits():
    return try_subnets(9, True, sizes=[3])


def refused_batch():
    """Rank 1 has samples whose annotations a flip would leave behind."""
    hook = SubnetSamplerHook(num_subnets=1, interval=1)
    loop = object.__new__(STEpochBasedTrainLoop)
    loop.subnet_inputs = SubnetInputs(['flip'])
    runner = SimpleNamespace(model=build_classifier(), train_loop=loop)
    data = dict(data_samples=[object()] * get_rank())
    return message_of(lambda: hook.before_train_iter(runner, 0, data))


def own_words():
    """Both ranks raise."""

    def fail():
        with raise_together():
            raise KeyError(f'mine, {get_rank()}')

    return message_of(fail)


FUNCTIONS = (last_batch, one_rank_too_small, fits, refused_batch, own_words)


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What each of FUNCTIONS returned in each of two ranks."""
    folder = tmp_path_factory.mktemp('ranks')
    multiprocessing.spawn(start_ranks, (str(folder), FUNCTIONS), nprocs=2)
    return [load_run(folder / f'{rank}.pth') for rank in range(2)]


def test_last_batch_of_one_on_one_rank(ranks):
    for rank, result in enumerate(ranks):
        message, same, passes = result['last_batch']
        assert message.startswith(
            'ValueError: subnets cannot be trained on the last batch of an '
            'epoch, 1 of 4 images'
        )
        assert 'Expected more than 1 value' in message
        assert ('on rank 0: ' in message) == (rank == 1)
        assert same and passes[0] == passes[1] == 0  # undone


def test_too_small_on_one_rank(ranks):
    for rank, result in enumerate(ranks):
        message, same, _ = result['one_rank_too_small']
        assert message.startswith('ValueError: subnets of 8 px are too small')
        assert 'no room' in message
        assert ('on rank 1: ' in message) == (rank == 0)
        assert same


def test_nothing_to_refuse(ranks):
    for result in ranks:
        assert result['fits'] == (None, True, [0, 0])


def test_refused_batch_on_one_rank(ranks):
    zero, one = (result['refused_batch'] for result in ranks)
    assert one.startswith('ValueError: input_transforms in train_cfg has')
    assert zero == one.replace('ValueError: ', 'ValueError: on rank 1: ')


def test_own_words_first(ranks):
    for rank, result in enumerate(ranks):
        assert result['own_words'] == f"KeyError: 'mine, {rank}'"
