"""A DenseNet's subnet is the network without some of its layers."""

import copy
from itertools import combinations, product

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmst.subnets import (
    Path,
    SamplingSpace,
    Subnet,
    activate,
    find_stages,
    measure_cost,
)
from tests.subnets.hand_cut_densenet import (
    ALL,
    DEPTHS,
    KEPT,
    ORDERED,
    STOCHASTIC,
    Cut,
    logits,
    mmpretrain_densenet,
    subnet_of,
    timm_densenet,
    torchvision_densenet,
)


@pytest.mark.parametrize('kept', KEPT)
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(
    'build, options',
    [
        (mmpretrain_densenet, {}),
        (mmpretrain_densenet, dict(memory_efficient=True)),
        (torchvision_densenet, {}),
        (torchvision_densenet, dict(memory_efficient=True)),
        (timm_densenet, {}),
        (timm_densenet, dict(memory_efficient=True)),
    ],
)
@pytest.mark.filterwarnings('ignore:.*use_reentrant')
def test_subnet_is_the_network_cut_by_hand(build, options, training, kept):
    """Logits, gradients and running statistics, to 1e-10."""
    model = build(**options)
    cut = Cut(model, kept)
    model.train(training), cut.model.train(training)
    image = torch.rand(3, 3, 32, 32).double()
    full = logits(copy.deepcopy(model), image)
    before = {name: b.clone() for name, b in model.named_buffers()}
    with activate(model, subnet_of(kept), update_running_stats=True):
        out = logits(model, image)
        out.square().sum().backward()
    expected = logits(cut.model, image)
    expected.square().sum().backward()
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    assert torch.equal(out, full) is (kept is ALL)
    for name, parameter in model.named_parameters():
        zero = torch.zeros_like(parameter)
        cut.assert_same(
            name,
            zero if parameter.grad is None else parameter.grad,
            cut.tensors[name].grad,
            zero,
        )
    for name, buffer in model.named_buffers():
        cut.assert_same(name, buffer, cut.tensors[name], before[name])


@pytest.mark.parametrize('kept', KEPT)
def test_running_statistics_stay_by_default(kept):
    model = mmpretrain_densenet()
    model.train()
    before = copy.deepcopy(dict(model.named_buffers()))
    image = torch.rand(3, 3, 32, 32).double()
    with activate(model, subnet_of(kept)):
        out = logits(model, image)
    cut = Cut(model, kept).model
    cut.train()
    # With the batch's own statistics all the same.
    torch.testing.assert_close(out, logits(cut, image), rtol=1e-10, atol=1e-10)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize(
    'norm_cfg',
    [
        dict(type='BN', affine=False),
        dict(type='BN', track_running_stats=False),
        dict(type='IN'),
        dict(type='IN', affine=True, track_running_stats=True),
    ],
)
@pytest.mark.parametrize('training', [False, True])
def test_other_norms(norm_cfg, training):
    model = mmpretrain_densenet(norm_cfg=norm_cfg)
    cut = Cut(model, STOCHASTIC)
    model.train(training), cut.model.train(training)
    image = torch.rand(3, 3, 96, 96).double()
    before = {name: b.clone() for name, b in model.named_buffers()}
    with activate(model, subnet_of(STOCHASTIC), update_running_stats=True):
        out = logits(model, image)
    torch.testing.assert_close(
        out, logits(cut.model, image), rtol=1e-10, atol=1e-10
    )
    for name, buffer in model.named_buffers():
        cut.assert_same(name, buffer, cut.tensors[name], before[name])


@pytest.mark.parametrize('update', [False, True])
def test_main_and_subnets_in_one_graph(update):
    """A pass leaves what earlier ones keep for their backward pass alone."""
    model = mmpretrain_densenet()
    model.train()
    image = torch.rand(3, 3, 32, 32).double()
    total, gradients = 0, []
    for kept in (ALL, ORDERED, STOCHASTIC):
        with activate(model, subnet_of(kept), update):
            loss = logits(model, image).square().sum()
        total = total + loss
        gradients.append(
            torch.autograd.grad(loss, model.head.fc.weight, retain_graph=True)[
                0
            ]
        )
    total.backward()
    torch.testing.assert_close(model.head.fc.weight.grad, sum(gradients))


def test_output_keeps_its_width():
    """What is left out of the last dense block is zero in the output."""
    backbone = mmpretrain_densenet(out_indices=(1, 2)).backbone
    backbone.eval()
    nn.init.constant_(backbone.transitions[-1][0].bias, 9)  # all positive
    image = torch.rand(1, 3, 32, 32).double()
    full = backbone(image)
    with activate(backbone, subnet_of(STOCHASTIC)):
        middle, out = backbone(image)
    assert middle.shape == full[0].shape and out.shape == full[1].shape
    # 13 channels go in; the second of three layers of 4 channels is left out.
    silent = (out == 0).all(3).all(2).all(0)
    assert silent[17:21].all() and not silent[:17].any()
    assert not silent[21:].any()
    assert all(torch.equal(a, b) for a, b in zip(full, backbone(image)))
    assert not any('forward' in vars(m) for m in backbone.modules())


def flops_of(backbone, image):
    """Multiply-adds of a network as it runs, by PyTorch's own counter."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(image)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize('kept', KEPT)
def test_cost_is_that_of_the_network_cut_by_hand(kept):
    """As predicted, and as it runs."""
    model = mmpretrain_densenet()
    image = torch.rand(1, 3, 32, 48).double()
    expected = flops_of(Cut(model, kept).model.backbone, image)
    assert measure_cost(model, image).count(subnet_of(kept)) == expected
    with activate(model, subnet_of(kept)):
        assert flops_of(model.backbone, image) == expected


@pytest.mark.parametrize(
    'strategy, min_depth',
    [('ordered', 1), ('ordered', 2), ('stochastic', 1), ('stochastic', 2)],
)
def test_mean_cost_is_the_mean_over_all_subnets(strategy, min_depth):
    """Every subnet of the space, each with the chance that it is drawn."""
    model = mmpretrain_densenet()
    cost = measure_cost(model, torch.rand(1, 3, 32, 32).double())
    choices = []
    for full in DEPTHS:
        stage = []
        depths = range(min_depth, full + 1)
        for depth in depths:
            others = list(combinations(range(1, full), depth - 1))
            if strategy == 'ordered':
                others = [tuple(range(1, depth))]
            stage += [
                ((0, *other), 1 / len(depths) / len(others))
                for other in others
            ]
        choices.append(stage)
    mean = sum(
        a[1] * b[1] * c[1] * cost.count(subnet_of((a[0], b[0], c[0])))
        for a, b, c in product(*choices)
    )
    space = SamplingSpace(DEPTHS, min_depth=min_depth, strategy=strategy)
    assert cost.average(space) == pytest.approx(mean, rel=1e-12)


def test_raw_sampling_is_refused():
    model = mmpretrain_densenet()
    paths = ((Path.BRANCH, Path.SHORTCUT, Path.SHORTCUT),) + tuple(
        (Path.BOTH,) * n for n in DEPTHS[1:]
    )
    with pytest.raises(
        ValueError,
        match="'raw' is not supported for DenseLayer in stages.0",
    ):
        with activate(model, Subnet(paths)):
            pass
    assert not any('forward' in vars(m) for m in model.modules())


def test_norms_that_mix_channels_are_refused():
    model = mmpretrain_densenet(norm_cfg=dict(type='GN', num_groups=1))
    with pytest.raises(
        TypeError, match='BatchNorm or InstanceNorm, .*stages.0.*norm_cfg'
    ):
        find_stages(model)


@pytest.mark.parametrize(
    'arch, blocks',
    [
        ('121', (6, 12, 24, 16)),
        ('169', (6, 12, 32, 32)),
        ('201', (6, 12, 48, 32)),
        ('161', (6, 12, 36, 24)),
    ],
)
def test_stages_of_the_published_networks(arch, blocks):
    backbone = ROOT_MODELS.build(dict(type='mmpretrain.DenseNet', arch=arch))
    stages = find_stages(backbone)
    assert tuple(map(len, stages)) == blocks
    assert [stage.name for stage in stages] == [
        f'stages.{index}' for index in range(4)
    ]
