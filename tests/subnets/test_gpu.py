"""Subnets on a GPU; needs PyTorch and torchvision alone."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mmst.subnets import (
    PassRunner,
    SubnetSampler,
    compile_blocks,
    kl_minus,
    resize_inputs,
)

torchvision = pytest.importorskip('torchvision')
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason='no GPU on this machine'
    ),
]


def network() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet50(num_classes=10).cuda().train()


def batch(size=128, number=16):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(number, 3, size, size, generator=generator)
    return images.cuda(), torch.arange(number).cuda() % 10


def train(model, sampler, share=True, scaler=None, iterations=2, data=None):
    """Iterations with subnets and SGD; gives the losses of the last one."""
    images, labels = batch() if data is None else data
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    runner = PassRunner(model, share=share)
    scaler = scaler or torch.cuda.amp.GradScaler(enabled=False)
    for iteration in range(iterations):
        subnets = sampler.draw(iteration) if sampler else []
        main: list = []

        def loss(subnet, main=main):
            with torch.autocast('cuda', enabled=scaler.is_enabled()):
                size = subnet.size if subnet else None
                logits = model(resize_inputs(images, size))
                if subnet is None:
                    main.append(logits)
                    return cross_entropy(logits, labels)
            return kl_minus(logits, main[0])

        losses = runner.run(
            [None, *subnets],
            loss,
            inputs=[None, *(subnet.size for subnet in subnets)],
            backward=lambda value: scaler.scale(value).backward(),
        )
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return torch.stack(losses)


def peak(model, sampler, share=True):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train(model, sampler, share)
    return torch.cuda.max_memory_allocated()


def make_sampler(model, number, **options):
    options = dict(min_depth=1, size_range=(0.5, 1.0), **options)
    return SubnetSampler(number, **options).fit(model)


@pytest.mark.parametrize('share', [False, True])
def test_memory_does_not_grow_with_the_number_of_subnets(share):
    model = network()
    plain = peak(model, None)
    for number in (1, 3, 6):
        for options in (dict(), dict(num_sizes=1)):
            sampler = make_sampler(model, number, **options)
            assert peak(model, sampler, share) <= 1.10 * plain


def test_shared_prefixes_change_nothing():
    torch.backends.cudnn.deterministic = True
    model = network().double()
    other = copy.deepcopy(model)
    data = [x.double() if x.is_floating_point() else x for x in batch(64, 4)]
    sampler = make_sampler(model, 4, num_sizes=1)
    losses = [
        train(net, sampler, share, data=data)
        for net, share in ((model, True), (other, False))
    ]
    torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-9)
    states = model.state_dict(), other.state_dict()
    for one, two in zip(*(state.values() for state in states)):
        torch.testing.assert_close(one, two, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('scale', [2.0**10, 2.0**120])
def test_mixed_precision_with_a_loss_scaler(scale):
    """A step that overflows is skipped."""
    model, before = network(), network()
    scaler = torch.cuda.amp.GradScaler(init_scale=scale)
    losses = train(model, make_sampler(model, 3), scaler=scaler, iterations=1)
    assert torch.isfinite(losses).all()
    overflows = scale > 2.0**100
    assert torch.equal(model.fc.weight, before.fc.weight) is overflows
    assert (scaler.get_scale() < scale) is overflows


def test_channels_last():
    model = network().to(memory_format=torch.channels_last)
    images, labels = batch()
    data = images.to(memory_format=torch.channels_last), labels
    options = dict(sampler=make_sampler(model, 2), iterations=1)
    plain = train(network(), data=(images, labels), **options)
    losses = train(model, data=data, **options)
    torch.testing.assert_close(losses, plain, rtol=1e-2, atol=1e-3)


def test_compiled_blocks():
    model, plain = network(), network()
    compile_blocks(model)
    losses = train(model, make_sampler(model, 3), iterations=1)
    expected = train(plain, make_sampler(plain, 3), iterations=1)
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-4)
