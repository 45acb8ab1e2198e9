"""Calls are shared by proof: whatever changes between passes parts them."""

import copy
import random
from itertools import cycle

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import ResNet
from mmpretrain.models.backbones.resnet import BasicBlock
from torch import nn
from torch.nn.functional import cross_entropy

from mmst.subnets import PassRunner, Path, Subnet, activate, find_stages
from tests.subnets.passes_apart import (
    apart,
    check,
    count_calls,
    run_passes,
    shared,
)

FULL = (2, 2, 2, 2)
IMAGES = torch.rand(
    4, 3, 16, 16, generator=torch.Generator().manual_seed(1)
).double()
LABELS = torch.arange(4)
# The second differs from the first in the last stage alone.
SUBNETS = [
    Subnet.ordered((2, 2, 2, 1), FULL),
    Subnet.ordered((2, 1, 2, 1), FULL),
]


class Net(ResNet):
    """Mixes features by a function between the blocks, where told to."""

    mix = None

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(18, base_channels=8, stem_channels=8)
        self.fc = nn.Linear(64, 5)
        self.double().train()

    def forward(self, x):
        x = self.layer1(self.maxpool(self.relu(self.norm1(self.conv1(x)))))
        if self.mix is not None:
            x = x + self.mix() * x.flip(0)
        x = self.layer4(self.layer3(self.layer2(x)))
        return self.fc(x.mean((2, 3)))


def is_main(subnet):
    return subnet is None


def turn_dropout(model):
    """One that drops everything is told from one that is off."""
    conv, dropout = model.layer2[0].conv1, nn.Dropout(1.0)
    model.layer2[0].conv1 = nn.Sequential(conv, dropout)
    return lambda subnet: dropout.train(is_main(subnet))


def change_number(model):
    """Change a number among a layer's attributes."""
    norm = model.layer2[0].bn1
    return lambda subnet: setattr(norm, 'eps', 0.1 if is_main(subnet) else 1.0)


def freeze(model):
    """Layers that only the main network trains."""
    return lambda subnet: model.layer1.requires_grad_(is_main(subnet))


def hook_inside(model):
    kept = []
    model.layer1[0].conv2.register_forward_hook(
        lambda module, args, output: kept.append(output)
    )


def replace_layer(model):
    layers = model.layer2[0].conv1, copy.deepcopy(model.layer2[0].conv1)
    layers[1].weight.data.mul_(2)
    block = model.layer2[0]
    return lambda one: setattr(block, 'conv1', layers[not is_main(one)])


def change_statistics(model):
    """A buffer of a norm layer in evaluation mode is read."""
    norm = model.layer2[0].bn1.eval()
    return lambda subnet: norm.running_mean.fill_(is_main(subnet))


def change_forward(model):
    conv = model.layer2[0].conv1
    own = conv.forward
    return lambda subnet: setattr(
        conv, 'forward', own if is_main(subnet) else lambda x: own(x) * 2
    )


def mix_by(draw):
    return lambda model: setattr(model, 'mix', draw)


# How passes change a network, and how often its first stage then runs for
# three passes that have it in common.
CHANGES = dict(
    nothing=(lambda model: None, 1),
    dropout=(turn_dropout, 1),
    number=(change_number, 1),
    freeze=(freeze, 3),
    hook_inside=(hook_inside, 3),
    layer=(replace_layer, 1),
    forward=(change_forward, 1),
    numpy=(mix_by(np.random.rand), 1),
    python=(mix_by(random.random), 1),
    torch=(mix_by(lambda: torch.rand(()).item()), 1),
    constant=(mix_by(lambda: 0.5), 1),
)


PASSES = (
    *(Net, [IMAGES] * 3, [None, *SUBNETS]),
    lambda model: [model.layer1[0].conv1],
)


@pytest.mark.parametrize('name', CHANGES)
def test_shared_passes_equal_passes_apart(name):
    prepare, runs = CHANGES[name]
    assert check(*PASSES, prepare) == [runs]
    assert check(*PASSES, prepare, share=False) == [3]


@pytest.mark.parametrize(
    'kind, runs', [('other view', 3), ('equal view', 1), ('gradient', 3)]
)
def test_inputs_are_the_same_tensors_or_have_equal_values(kind, runs):
    """Images that require a gradient are those of one pass alone."""
    results = []
    for share in (False, True):
        model, images = Net(), IMAGES.clone()
        counts, found = count_calls([model.conv1]), []

        def loss(subnet, model=model, images=images, found=found):
            x = images if subnet is None else images.clone()
            if kind == 'other view' and subnet:
                x = x.flip(-1)
            if kind != 'gradient':
                return model(x).square().mean()
            x.requires_grad_()
            value = model(x).square().mean()
            found.append(torch.autograd.grad(value, x, create_graph=True)[0])
            return value + found[-1].square().sum()

        losses = PassRunner(model, share).run([None, *SUBNETS], loss)
        gradients = [p.grad for p in model.parameters()]
        results.append((losses, gradients, found))
        assert counts[model.conv1] == (runs if share else 3)
    for expected, found in zip(*results):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_statistics_that_change_between_passes_are_refused():
    """The pass before still needs those that it read."""
    run_passes(apart, *PASSES, change_statistics)
    with pytest.raises(RuntimeError, match='written into.*share=False'):
        run_passes(shared, *PASSES, change_statistics)


def test_weights_that_change_between_passes_are_refused():
    """Their gradients are not complete; apart it is the user's own affair."""
    model, passes = Net(), [None, *SUBNETS]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def loss(subnet):
        return model(IMAGES).mean()

    def step(value):
        value.backward()
        optimizer.step()

    PassRunner(model, share=False).run(passes, loss, backward=step)
    runner = PassRunner(model)
    with pytest.raises(RuntimeError, match='gradients.*share=False'):
        runner.run(passes, loss, backward=step)
    for change in (optimizer.step, optimizer.zero_grad):
        with pytest.raises(RuntimeError, match='ients changed.*share=False'):
            for one in runner.plan(passes):
                with one:
                    one.backward(loss(one.subnet))
                change()


def clip(loss, parameters):
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 0.5)


def collect(loss, parameters):
    torch.autograd.grad(loss, parameters, allow_unused=True)


@pytest.mark.parametrize('backward', [clip, collect])
def test_gradients_of_single_passes_are_refused(backward):
    model = Net()

    def train(share):
        PassRunner(model, share).run(
            [None, *SUBNETS],
            lambda _: model(IMAGES).square().mean(),
            backward=lambda loss: backward(loss, [*model.parameters()]),
        )

    train(share=False)
    with pytest.raises(RuntimeError, match='no gradients of their own'):
        train(share=True)


def test_pass_without_backward_is_refused():
    model = Net()
    with pytest.raises(RuntimeError, match=r'call `one.backward\(loss\)`'):
        for one in PassRunner(model).plan([None, *SUBNETS]):
            with one:
                model(IMAGES).mean().backward()
    assert not any('forward' in vars(m) for m in model.modules())


def test_loop_that_ends_early_is_told():
    """What passes share is backpropagated in the last of them."""
    model = Net()
    with pytest.warns(UserWarning, match='ended early.*incomplete'):
        for one in PassRunner(model).plan([None, *SUBNETS]):
            with one:
                one.backward(model(IMAGES).mean())
            break
        del one


def test_data_parallel():
    """Copies of the network do not run the original's blocks and shortcuts."""
    model = nn.DataParallel(Net())
    with pytest.raises(ValueError, match='DataParallel.*share=False'):
        PassRunner(model)
    runner = PassRunner(model, share=False)

    def loss(subnet):
        return model(IMAGES).mean()

    assert len(runner.run([None, *SUBNETS], loss)) == 3
    # The shortcut of a block that changes the shape has weights.
    raw = Subnet(tuple((Path.SHORTCUT, Path.BOTH) for _ in FULL))
    for use in (
        lambda: runner.run([None, raw], loss),
        activate(model, raw).__enter__,
    ):
        with pytest.raises(ValueError, match='DataParallel copies the netw'):
            use()


class Chancy(BasicBlock):
    """Draws inside of a block, which no proof can see."""

    def forward(self, x):
        return super().forward(x) * np.random.rand()


@pytest.mark.parametrize('block', [BasicBlock, Chancy])
def test_verify(block):
    """The error names what differs; all is left as it was."""
    model = Net()
    for stage in find_stages(model):
        for each in stage.blocks:
            each.module.__class__ = block
    model.dropout = nn.Dropout(0.5)
    model.layer2[1].relu = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    model.layer1.eval()
    model(IMAGES).mean().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    buffers = [b.clone() for b in model.buffers()]
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()

    def loss(subnet):
        return cross_entropy(model.dropout(model(IMAGES)), LABELS)

    found = PassRunner(model).verify([None, *SUBNETS], loss)
    if block is BasicBlock:
        assert found is None
    else:
        assert 'the loss of subnet 2-' in found and 'apart' in found
    assert all(
        map(torch.equal, gradients, (p.grad for p in model.parameters()))
    )
    assert all(map(torch.equal, buffers, model.buffers()))
    assert model.training and not model.layer1.training
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()


def test_verify_names_a_gradient_that_sharing_loses():
    """That of every other backward pass through a layer."""
    model, kept = Net(), cycle([1, 0])
    own = model.layer1[1].forward

    def forward(x):
        out = own(x)
        out.register_hook(lambda gradient: gradient * next(kept))
        return out

    model.layer1[1].forward = forward
    found = PassRunner(model).verify(
        [None, *SUBNETS], lambda _: model(IMAGES).square().mean()
    )
    assert 'summed gradient of' in found and '%' in found
