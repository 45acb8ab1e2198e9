"""Subnets leave all buffers as they were, those of quantisation too."""

import copy

import pytest
import torch
from torch import nn
from torch.ao import quantization
from torchvision.models.resnet import BasicBlock, ResNet

from mmst.subnets import PassRunner, Subnet, activate
from mmst.subnets.activation import preserve_buffers

# With a state, and with ranges that a pass may change.
OBSERVERS = [
    'FakeQuantize',
    'FusedMovingAvgObsFakeQuantize',
    'HistogramObserver',
    'MinMaxObserver',
    'MovingAverageMinMaxObserver',
    'MovingAveragePerChannelMinMaxObserver',
    'PerChannelMinMaxObserver',
]
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make_model(name: str) -> nn.Module:
    model = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=4)
    observer = getattr(quantization, name)
    # In a block that runs, and before all blocks.
    model.layer2[0].relu = nn.Sequential(nn.ReLU(), observer())
    model.relu = nn.Sequential(nn.ReLU(), observer())
    return model.train()


def check_same(model: nn.Module, before: dict) -> None:
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert after[name].shape == value.shape, name
        assert torch.equal(after[name], value), name


@pytest.mark.parametrize('name', OBSERVERS)
def test_observers_before_and_after_their_first_pass(name):
    model = make_model(name)
    for _ in range(2):
        before = copy.deepcopy(model.state_dict())
        with activate(model, (1, 1, 1, 1)):
            model(5 * IMAGES)
            assert any(
                not torch.equal(value, before[key])
                for key, value in model.state_dict().items()
            )
        check_same(model, before)
        model(IMAGES)  # the main network does observe


def test_observers_with_shared_prefixes():
    model = make_model('FusedMovingAvgObsFakeQuantize')
    alone = copy.deepcopy(model)
    subnet = Subnet.ordered((1, 1, 1, 1), (2, 2, 2, 2))
    PassRunner(model).run(
        [None, subnet], lambda _: model(IMAGES).square().sum()
    )
    alone(IMAGES)
    check_same(model, alone.state_dict())


def test_buffers_that_are_replaced_added_and_shared():
    model = nn.ModuleDict(dict(a=nn.BatchNorm1d(2), b=nn.BatchNorm1d(2)))
    model.b.running_mean = model.a.running_mean  # one tensor, twice
    model.b.running_var = None
    mean, var = model.a.running_mean, model.a.running_var
    with preserve_buffers(model.modules()):
        model.a.running_mean.add_(3)
        model.a.running_var = torch.full((7,), 5.0)
        model.b.running_var = torch.ones(2)
        model.b.register_buffer('late', torch.zeros(1))
    assert model.a.running_mean is model.b.running_mean is mean
    assert mean.tolist() == [0, 0]
    assert model.a.running_var is var and var.tolist() == [1, 1]
    assert model.b.running_var is None and 'late' not in model.b._buffers
