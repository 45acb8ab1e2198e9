"""A DenseNet's subnet is the network without some of its layers."""

import copy
from itertools import combinations, product

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    checkpoint_wrapper,
)
from torch.nn.utils import (
    parametrizations,
    parametrize,
    prune,
    remove_spectral_norm,
    remove_weight_norm,
    spectral_norm,
    weight_norm,
)
from torch.utils.flop_counter import FlopCounterMode

from mmst.subnets import (
    Path,
    Subnet,
    SubnetSampler,
    activate,
    export_subnet,
    find_stages,
    measure_cost,
    predict_iteration_cost,
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
from tests.subnets.passes_apart import apart, assert_equal, shared


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
    image = torch.rand(1, 3, 32, 32).double()
    cost = measure_cost(model, image)
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
    sampler = SubnetSampler(
        1, min_depth=min_depth, strategy=strategy, sizes=(32,)
    ).fit(model)
    predicted = predict_iteration_cost(model, image, sampler, share=False)
    assert predicted == pytest.approx(1 + mean / cost.total, rel=0.01)


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


def list_convs(model):
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def remove_parametrization(conv):
    parametrize.remove_parametrizations(conv, 'weight')


# How the weight of each convolution is computed, and how it is made plain.
COMPUTED = {
    'pruned': (
        lambda conv: prune.l1_unstructured(conv, 'weight', 0.3),
        lambda conv: prune.remove(conv, 'weight'),
    ),
    'weight norm': (weight_norm, remove_weight_norm),
    'parametrized weight norm': (
        parametrizations.weight_norm,
        remove_parametrization,
    ),
    'spectral norm': (spectral_norm, remove_spectral_norm),
    'parametrized spectral norm': (
        parametrizations.spectral_norm,
        remove_parametrization,
    ),
}
needs_computed = pytest.mark.parametrize(
    'change, undo', [*COMPUTED.values()], ids=[*COMPUTED]
)


def densenet_with(change):
    model = torchvision_densenet()
    for conv in list_convs(model):
        change(conv)
    model.double().eval()
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32).double())  # computes the weights
    return model


@needs_computed
@pytest.mark.filterwarnings('ignore:.*deprecated')
def test_computed_weights_lose_their_channels(change, undo):
    """In place, as the network with the same weights; exported if plain."""
    model, plain = densenet_with(change), torchvision_densenet()
    for conv, own in zip(list_convs(model), list_convs(plain)):
        own.weight.data.copy_(conv.weight.detach())
    image = torch.rand(2, 3, 32, 32).double()
    for kept in (ORDERED, STOCHASTIC):
        cut = Cut(plain, kept).model.eval()
        with torch.no_grad(), activate(model, subnet_of(kept)):
            out = model(image)
        torch.testing.assert_close(out, cut(image), rtol=1e-10, atol=1e-10)
    depths = [len(kept) for kept in ORDERED]
    with pytest.raises(ValueError, match='conv computes its weight'):
        export_subnet(model, depths)
    for conv in list_convs(model):
        undo(conv)
    small = export_subnet(model, depths).eval()
    expected = Cut(plain, ORDERED).model.eval()(image)
    torch.testing.assert_close(small(image), expected, rtol=1e-10, atol=1e-10)


@needs_computed
@pytest.mark.filterwarnings('ignore:.*deprecated')
def test_computed_weights_are_trained(change, undo):
    models = [densenet_with(change) for _ in range(2)]
    subnets = [None, subnet_of(ORDERED), subnet_of(STOCHASTIC)]
    images = [torch.rand(2, 3, 32, 32).double()] * 3
    expected = [x.detach() for x in apart(models[1], images, subnets)]
    losses = shared(models[0], images, subnets)
    assert_equal(*models, losses, expected)


def test_wrapped_dense_layers():
    """In PyTorch's wrapper, which no DenseNet can be trained in.

    The list that a layer gets has grown when the layer runs again.
    """
    model, plain = torchvision_densenet(), torchvision_densenet()
    block = model.features.denseblock2
    for name, layer in list(block.named_children()):
        block[name] = checkpoint_wrapper(
            layer, checkpoint_impl=CheckpointImpl.NO_REENTRANT
        )
    image = torch.rand(2, 3, 32, 32).double()
    expected = Cut(plain, ORDERED).model.eval()(image)
    with activate(model.eval(), subnet_of(ORDERED)):
        out = model(image)
    small = export_subnet(model, [len(kept) for kept in ORDERED])
    for ours in (out, small(image)):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


class LowRank(nn.Conv2d):
    """Has a forward of its own, as convolutions with additions have."""

    def forward(self, x):
        return super().forward(x) + x.mean()


class Adapted(nn.Module):
    """A convolution inside an adapter."""

    def __init__(self, conv):
        super().__init__()
        self.base_layer = conv

    def forward(self, x):
        return self.base_layer(x)


class WithSkip(nn.Module):
    """A transition that gives away what it reads, as a U-Net's does."""

    def __init__(self, transition):
        super().__init__()
        self.transition = transition


def low_rank(net):
    net.denseblock1.denselayer2.conv1.__class__ = LowRank


def adapted(net):
    net.transition1.conv = Adapted(net.transition1.conv)


def own_layer(net):
    net.denseblock1.denselayer2 = Adapted(net.denseblock1.denselayer2)


def own_transition(net):
    net.transition1 = WithSkip(net.transition1)


def pruned_norm(net):
    prune.l1_unstructured(net.norm5, 'weight', 0.3)


@pytest.mark.parametrize(
    'change, message',
    [
        (low_rank, 'LowRank in or after features.denseblock1 is not a plain'),
        (adapted, 'Adapted in or after features.denseblock1 is not a plain'),
        (own_layer, 'features.denseblock1 has Adapted beside _DenseLayer'),
        (own_transition, 'WithSkip .*features.denseblock1 has a forward of'),
        (pruned_norm, 'BatchNorm2d in or after features.denseblock3 is comp'),
    ],
)
def test_layers_that_cannot_lose_channels_are_refused(change, message):
    model = torchvision_densenet()
    change(model.features)
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
    plain = torchvision_densenet()
    plain.classifier.weight.data.copy_(sum(h.weight for h in model.heads))
    plain.classifier.bias.data.copy_(sum(h.bias for h in model.heads))
    image = torch.rand(2, 3, 32, 32).double()
    with activate(model, subnet_of(ORDERED)):
        out = model(image)
    expected = Cut(plain, ORDERED).model.eval()(image)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match='last .*by `heads.0`, `heads.1`'):
        export_subnet(model, (1, 2, 2))
    expected = Cut(plain, ([0], [0, 1], [0, 1, 2])).model.eval()(image)
    small = export_subnet(model, (1, 2, 3))
    torch.testing.assert_close(small(image), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    'neck', [nn.BatchNorm1d(25), nn.LayerNorm(25), nn.GroupNorm(5, 25)]
)
def test_norm_of_the_output_is_refused(neck):
    model = TwoHeads(nn.Sequential(neck, nn.Linear(25, 5)))
    with pytest.raises(TypeError, match='`heads.0.0` normalises the output'):
        find_stages(model)


def test_norm_after_a_linear_layer():
    torch.manual_seed(0)
    head = nn.Sequential(
        nn.Linear(25, 25), nn.BatchNorm1d(25), nn.Linear(25, 5)
    )
    model = TwoHeads(head).eval()
    image = torch.rand(2, 3, 32, 32).double()
    with activate(model, (1, 2, 2)):
        expected = model(image)
    small = export_subnet(model, (1, 2, 2))
    torch.testing.assert_close(small(image), expected, rtol=1e-10, atol=1e-10)
    assert small.heads[0][0].in_features == 21


@pytest.mark.parametrize('head', [nn.Flatten(), nn.Linear(99, 5)])
def test_features_that_no_known_layer_reads(head):
    """Where the backbone alone is exported, it has fewer channels."""
    model = TwoHeads(head).eval()
    if isinstance(head, nn.Flatten):
        image = torch.rand(2, 3, 32, 32).double()
        assert export_subnet(model, (1, 2, 2))(image).shape == (2, 21)
        return
    with pytest.raises(ValueError, match='not read by .*by `heads.0`'):
        export_subnet(model, (1, 2, 2))
