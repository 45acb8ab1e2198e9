"""A DenseNet's subnet is the network without some of its layers."""

import copy

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn
from torch.nn.utils import (
    parametrizations,
    parametrize,
    prune,
    remove_spectral_norm,
    spectral_norm,
)
from torch.utils.flop_counter import FlopCounterMode

from mmst.subnets import activate, export_subnet, find_stages, measure_cost
from tests.subnets.hand_cut_densenet import (
    ALL,
    KEPT,
    MIDDLE_ONLY,
    ORDERED,
    STOCHASTIC,
    features_without,
    logits,
    logits_without,
    mmpretrain_densenet,
    subnet_of,
    timm_densenet,
    torchvision_densenet,
)
from tests.subnets.passes_apart import apart, assert_equal, draw, shared
from tests.subnets.test_families import assert_same, check_shared
from tests.subnets.test_found_networks import wrap_blocks

EFFICIENT = dict(memory_efficient=True)
BUILDS = [mmpretrain_densenet, torchvision_densenet, timm_densenet]
PLAIN = [(build, options) for build in BUILDS for options in ({}, EFFICIENT)]
NORMS = [
    dict(type='BN', affine=False),
    dict(type='BN', track_running_stats=False),
    dict(type='IN'),
    dict(type='IN', affine=True, track_running_stats=True),
]
SOURCES = PLAIN + [(mmpretrain_densenet, dict(norm_cfg=n)) for n in NORMS]


@pytest.mark.parametrize(
    'build, options, training, update, kept',
    [
        pytest.param(
            *(*source, *mode, kept),
            marks=[pytest.mark.slow] * ((i + j + k) % 3 > 0),
        )
        for i, source in enumerate(SOURCES)
        for j, mode in enumerate([(False, True), (True, False), (True, True)])
        for k, kept in enumerate(KEPT)
    ],
)
@pytest.mark.filterwarnings('ignore:.*use_reentrant')
def test_subnet_is_the_network_cut_by_hand(
    build, options, training, update, kept
):
    """Logits, gradients and running statistics, to 1e-10."""
    model = build(**options)
    model.train(training)
    other = copy.deepcopy(model)
    # InstanceNorm needs more than one pixel.
    size = 96 if 'norm_cfg' in options else 32
    image = torch.rand(3, 3, size, size).double()
    full = logits(copy.deepcopy(model), image)
    before = {name: b.clone() for name, b in model.named_buffers()}
    with activate(model, subnet_of(kept), update_running_stats=update):
        out = logits(model, image)
        out.square().sum().backward()
    expected = logits_without(other, kept, image)
    expected.square().sum().backward()
    assert_same([out], [expected])
    assert torch.equal(out, full) is (kept is ALL)
    for parameters in zip(model.parameters(), other.parameters()):
        ours, theirs = (
            torch.zeros_like(p) if p.grad is None else p.grad
            for p in parameters
        )
        assert_same([ours], [theirs])
    after = dict(other.named_buffers()) if update else before
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, after[name], rtol=1e-10, atol=1e-10)


def check_in_place(model, plain, kept, image):
    with torch.no_grad(), activate(model, subnet_of(kept)):
        out = logits(model, image)
    assert_same([out], [logits_without(plain, kept, image)])


def check_exported(model, plain, kept, image):
    """The small network, which is as the plain one cut by hand."""
    small = export_subnet(model, [*map(len, kept)]).eval()
    assert_same([logits(small, image)], [logits_without(plain, kept, image)])
    return small


@pytest.mark.parametrize('build', BUILDS)
@pytest.mark.parametrize('kept', [ORDERED, MIDDLE_ONLY])
def test_exported_is_the_network_cut_by_hand(build, kept):
    model = build().eval()
    image = torch.rand(2, 3, 32, 32).double()
    small = check_exported(model, model, kept, image)
    assert len(small.state_dict()) < len(model.state_dict())
    for name, value in small.state_dict().items():
        first = tuple(slice(0, length) for length in value.shape)
        assert torch.equal(value, model.state_dict()[name][first]), name


@pytest.mark.filterwarnings('ignore:.*use_reentrant')
@pytest.mark.parametrize('build, options', PLAIN)
def test_shared(build, options):
    """Blocks that read features of earlier ones, checkpointed or not."""
    model = build(**options)
    if hasattr(model, 'backbone'):  # mmpretrain's classifiers need a mode
        model.backbone.out_indices = (0, 1, 2)
        model = model.backbone
    model.train()
    images = torch.rand(2, 3, 3, 32, 32).double()
    strategies = ('ordered', 'stochastic')
    check_shared(model, *images, strategies=strategies)


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
        weight = model.head.fc.weight
        gradients += torch.autograd.grad(loss, weight, retain_graph=True)
    total.backward()
    torch.testing.assert_close(weight.grad, sum(gradients))


def count(run, *args):
    """What it returns, and its multiply-adds by PyTorch's own counter."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = run(*args)
    return result, counter.get_total_flops() // 2


@pytest.mark.parametrize('kept', KEPT)
def test_backbone_alone(kept):
    """Its cost, as predicted and as it runs, is that of the cut network.

    Its output keeps its width, with zeros for what is left out.
    """
    model = mmpretrain_densenet()
    image = torch.rand(1, 3, 32, 48).double()
    model.eval()
    (features, channels), flops = count(features_without, model, kept, image)
    assert measure_cost(model, image).count(subnet_of(kept)) == flops
    with activate(model, subnet_of(kept)):
        (out,), own_flops = count(model.backbone, image)
    assert own_flops == flops
    expected = torch.zeros(1, 25, *features.shape[2:]).double()
    expected[:, channels] = features
    assert_same([out], [expected])


def test_raw_sampling_is_refused():
    message = "'raw' is not supported for DenseLayer in stages.0"
    with pytest.raises(ValueError, match=message):
        draw(mmpretrain_densenet(), 'raw')


def test_norms_that_mix_channels_are_refused():
    model = mmpretrain_densenet(norm_cfg=dict(type='GN', num_groups=1))
    with pytest.raises(
        TypeError, match='BatchNorm or InstanceNorm, .*stages.0.*norm_cfg'
    ):
        find_stages(model)


def test_stages_of_a_published_network():
    backbone = ROOT_MODELS.build(dict(type='mmpretrain.DenseNet', arch='121'))
    stages = {stage.name: len(stage) for stage in find_stages(backbone)}
    names = [f'stages.{index}' for index in range(4)]
    assert stages == dict(zip(names, (6, 12, 24, 16)))


def list_convs(model):
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def remove_parametrization(conv):
    parametrize.remove_parametrizations(conv, 'weight')


def densenet_with(change):
    model = torchvision_densenet()
    for conv in list_convs(model):
        change(conv)
    model.double().eval()
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32).double())  # computes the weights
    return model


# How the weight of each convolution is computed, and how it is made plain.
@pytest.mark.parametrize(
    'change, undo',
    [
        (
            lambda conv: prune.l1_unstructured(conv, 'weight', 0.3),
            lambda conv: prune.remove(conv, 'weight'),
        ),
        (parametrizations.weight_norm, remove_parametrization),
        (spectral_norm, remove_spectral_norm),
    ],
)
@pytest.mark.filterwarnings('ignore:.*deprecated')
def test_computed_weights_lose_their_channels(change, undo):
    """In place, as the network with the same weights; exported if plain.

    Passes that share train them as passes apart do.
    """
    model, other = densenet_with(change), densenet_with(change)
    plain = torchvision_densenet().eval()
    for conv, own in zip(list_convs(model), list_convs(plain)):
        own.weight.data.copy_(conv.weight.detach())
    image = torch.rand(2, 3, 32, 32).double()
    for kept in (ORDERED, STOCHASTIC):
        check_in_place(model, plain, kept, image)
    subnets = [None, subnet_of(ORDERED), subnet_of(STOCHASTIC)]
    losses = shared(model, [image] * 3, subnets)
    assert_equal(model, other, losses, apart(other, [image] * 3, subnets))
    with pytest.raises(ValueError, match='conv computes its weight'):
        export_subnet(model, [*map(len, ORDERED)])
    for conv in list_convs(model):
        undo(conv)
    check_exported(model, plain, ORDERED, image)


def test_wrapped_dense_layers():
    """In PyTorch's wrapper, which no DenseNet can be trained in.

    The list that a layer gets has grown when the layer runs again.
    """
    model, plain = torchvision_densenet(), torchvision_densenet().eval()
    wrap_blocks(model, ['features.denseblock2'])
    image = torch.rand(2, 3, 32, 32).double()
    check_in_place(model.eval(), plain, ORDERED, image)
    check_exported(model, plain, ORDERED, image)


class LowRank(nn.Conv2d):
    """Has a forward of its own, as convolutions with additions have."""

    def forward(self, x):
        return super().forward(x) + x.mean()


class Adapted(nn.Module):
    """A layer inside an adapter."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer

    def forward(self, x):
        return self.base_layer(x)


@pytest.mark.parametrize(
    'name, change, message',
    [
        (
            'denseblock1.denselayer2.conv1',
            lambda conv: LowRank(8, 16, 1),
            'LowRank in or after features.denseblock1 is not a plain',
        ),
        (
            'denseblock1.denselayer2',
            lambda layer: Adapted(nn.Identity()),
            'features.denseblock1 has Adapted beside _DenseLayer',
        ),
        # A transition that gives away what it reads, as a U-Net's does.
        ('transition1', Adapted, 'Adapted .*denseblock1 has a forward of'),
        (
            'norm5',
            lambda norm: prune.l1_unstructured(norm, 'weight', 0.3),
            'BatchNorm2d in or after features.denseblock3 is comp',
        ),
    ],
)
def test_layers_that_cannot_lose_channels_are_refused(name, change, message):
    model = torchvision_densenet()
    parent, _, child = name.rpartition('.')
    parent = model.features.get_submodule(parent)
    setattr(parent, child, change(getattr(parent, child)))
    with pytest.raises(TypeError, match=message):
        find_stages(model)


class TwoHeads(nn.Module):
    def __init__(self, *heads):
        super().__init__()
        self.net = torchvision_densenet()
        self.net.classifier = nn.Identity()
        self.heads = nn.ModuleList(heads).double()

    def forward(self, x):
        x = self.net(x)
        return sum(head(x) for head in self.heads)


def test_two_classifiers():
    """Right in place; the last stage is exported whole, or refused."""
    torch.manual_seed(0)
    model = TwoHeads(nn.Linear(25, 5), nn.Linear(25, 5)).eval()
    plain = torchvision_densenet().eval()
    plain.classifier.weight.data.copy_(sum(h.weight for h in model.heads))
    plain.classifier.bias.data.copy_(sum(h.bias for h in model.heads))
    image = torch.rand(2, 3, 32, 32).double()
    check_in_place(model, plain, ORDERED, image)
    with pytest.raises(ValueError, match='last .*by `heads.0`, `heads.1`'):
        export_subnet(model, (1, 2, 2))
    check_exported(model, plain, ([0], [0, 1], [0, 1, 2]), image)


@pytest.mark.parametrize(
    'neck', [nn.BatchNorm1d(25), nn.LayerNorm(25), nn.GroupNorm(5, 25)]
)
def test_norm_of_the_output_is_refused(neck):
    model = TwoHeads(nn.Sequential(neck, nn.Linear(25, 5)))
    with pytest.raises(TypeError, match='`heads.0.0` normalises the output'):
        find_stages(model)


def test_norm_after_a_linear_layer():
    torch.manual_seed(0)
    head = nn.Linear(25, 25), nn.BatchNorm1d(25), nn.Linear(25, 5)
    model = TwoHeads(nn.Sequential(*head)).eval()
    image = torch.rand(2, 3, 32, 32).double()
    with activate(model, (1, 2, 2)):
        expected = model(image)
    small = export_subnet(model, (1, 2, 2))
    assert_same([small(image)], [expected])
    assert small.heads[0][0].in_features == 21


@pytest.mark.parametrize('head', [nn.Linear(99, 5), nn.Conv1d(25, 5, 1)])
def test_features_that_no_known_layer_reads(head):
    with pytest.raises(ValueError, match='not read by .*by `heads.0`'):
        export_subnet(TwoHeads(head).eval(), (1, 2, 2))
