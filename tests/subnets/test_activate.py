"""A subnet run in place is the network one would get by leaving blocks out."""

import copy
import pickle
from threading import Thread

import pytest
import torch
from torch import nn
from torch.ao import quantization
from torchvision.models import resnet18

from mmst.subnets import (
    Block,
    PassRunner,
    Path,
    Stage,
    Subnet,
    activate,
    get_active_subnet,
    measure_cost,
    register_stage_finder,
)
from mmst.subnets.activation import preserve_buffers
from tests.subnets.passes_apart import cut
from tests.subnets.test_families import resnet

BOTH, SHORTCUT, BRANCH = Path.BOTH, Path.SHORTCUT, Path.BRANCH


@pytest.mark.parametrize(
    'options',
    [
        dict(depth=50),
        dict(depth=50, with_cp=True),
        dict(norm_eval=True, frozen_stages=1),  # these use their statistics
    ],
)
def test_ordered_subnet_is_the_cut_network(options):
    """Contract 9, with gradients, gradient checkpointing too."""
    model = resnet(**options)
    depths = (2, 4, 1, 3) if 'depth' in options else (1, 1, 1, 1)
    model.train()
    image = torch.rand(2, 3, 32, 32).double().requires_grad_()
    with activate(model, depths) as subnet:
        out = model(image)[0]
        out.square().sum().backward()
    assert subnet.depths == depths
    small = cut(model, subnet)
    expected = small(image)[0]
    expected.square().sum().backward()
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    ours = dict(model.named_parameters())
    for name, parameter in small.named_parameters():
        torch.testing.assert_close(
            ours.pop(name).grad, parameter.grad, rtol=1e-10, atol=1e-12
        )
    assert all(parameter.grad is None for parameter in ours.values())


def test_raw_subnet_with_gradient_checkpointing():
    """Output and gradients are those without it."""
    plain, checkpointed = resnet(), resnet(with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    outputs = []
    for model in (plain, checkpointed):
        image = torch.ones(2, 3, 32, 32).double().requires_grad_()
        model.train()
        with activate(model, Subnet(((SHORTCUT, BRANCH),) * 4)):
            outputs.append(model(image)[0])
            outputs[-1].square().sum().backward()
    torch.testing.assert_close(*outputs)
    for ours, theirs in zip(plain.parameters(), checkpointed.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_active_subnet_is_known_inside_only():
    model = resnet()
    with activate(model, (1, 1, 1, 1)) as outer:
        assert get_active_subnet() is outer
        with activate(resnet(), (2, 2, 2, 2)) as inner:
            assert get_active_subnet() is inner
        assert get_active_subnet() is outer
    assert get_active_subnet() is None


def test_second_activation_is_refused_whoever_asks():
    """One thread runs the model as a subnet, another asks for one."""
    model, x = resnet(), torch.rand(1, 3, 32, 32).double()
    before = model(x)[0]
    errors = []

    def serve():
        try:
            with activate(model, (2, 1, 1, 1)):
                pass
        except RuntimeError as error:
            errors.append(str(error))

    around = nn.ModuleDict(dict(backbone=model))
    with activate(around, (1, 1, 1, 1)):
        thread = Thread(target=serve)
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match='ResNet already runs as a su'):
            PassRunner(around).run([None], lambda subnet: model(x)[0].sum())
        assert not torch.equal(model(x)[0], before)
    assert len(errors) == 1 and 'ResNet already runs as a subnet' in errors[0]
    assert torch.equal(model(x)[0], before)
    serve()
    assert len(errors) == 1


@pytest.mark.parametrize(
    'duplicate',
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=['copy', 'pickle'],
)
def test_copy_made_inside_is_the_main_network(duplicate):
    """The copy runs weights of its own."""
    model, x = resnet(), torch.rand(1, 3, 32, 32).double()
    before = model(x)[0]
    with activate(model, Subnet(((SHORTCUT, BRANCH),) * 4)):
        twin = duplicate(model)
        assert torch.equal(twin(x)[0], before)
    assert twin.state_dict().keys() == model.state_dict().keys()
    with torch.no_grad():
        model.layer1[1].conv1.weight.zero_()
    assert torch.equal(twin(x)[0], before)
    with activate(twin, (1, 1, 1, 1)) as subnet:
        out = twin(x)[0]
    assert torch.equal(out, cut(twin, subnet)(x)[0])


def test_model_comes_back_after_an_exception():
    """Contract 8; a forward that was there on the instance does too."""
    model = resnet()
    block = model.layer1[1]
    own = block.forward = lambda x: x + 1
    with pytest.raises(RuntimeError, match='inside'):
        with activate(model, (1, 1, 1, 1)):
            assert block.forward is not own
            raise RuntimeError('inside')
    assert block.forward is own
    assert 'forward' not in vars(model.layer2[1])


def two_stages(net):
    """Add stages of one block that does nothing, in a ResNet's layout."""
    for name in ('layer1', 'layer2'):
        net.add_module(name, nn.Sequential(nn.Identity()))
        net[-1][0].downsample = None
    return net


class OwnNorm(nn.Module):
    """A norm layer of its own kind, as mmcv's SyncBatchNorm is."""

    def __init__(self):
        super().__init__()
        self.register_buffer('running_mean', torch.zeros(3))

    def forward(self, x):
        if self.training:
            self.running_mean += x.mean((0, 2, 3))
        return x


@pytest.mark.parametrize('update', [False, True])
@pytest.mark.parametrize(
    'norm',
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, momentum=None),
        OwnNorm(),
        nn.InstanceNorm2d(3, track_running_stats=True),
        nn.SyncBatchNorm(3),
    ],
)
def test_running_statistics(norm, update):
    model = two_stages(nn.Sequential()).train()
    model.norm = norm
    before = copy.deepcopy(model.state_dict())
    if isinstance(norm, nn.SyncBatchNorm):
        norm.forward = lambda x: nn.BatchNorm2d.forward(norm, x)
    with activate(model, (1, 1), update):
        out = norm(torch.rand(4, 3, 5, 5))
    after = model.state_dict()
    same = all(torch.equal(before[k], after[k]) for k in before)
    assert same is not update
    if not isinstance(norm, OwnNorm):  # the batch's own statistics were used
        assert out.mean().abs() < 1e-5


@pytest.mark.parametrize(
    'subnet, message',
    [
        ((1, 1, 1), 'has 3 entries, but the network has 4 stages'),
        ((1, 1, 3, 1), 'depth 3 of stage 3 .*not between 1 and 2'),
        ((0, 1, 1, 1), 'depth 0 of stage 1'),
        (Subnet(((BOTH,) * 3,) * 4), r'\[3, 3, 3, 3\] blocks, but the model'),
    ],
)
def test_subnets_that_do_not_fit(subnet, message):
    with pytest.raises(ValueError, match=message):
        with activate(resnet(), subnet):
            pass


@pytest.mark.parametrize(
    'paths, message',
    [
        ((SHORTCUT, BOTH), 'block of all has no shortcut and cannot be skip'),
        (
            (BOTH, BRANCH),
            "'raw' is not supported for Tanh in all, .*`branch",
        ),
    ],
)
def test_paths_that_a_block_has_not(paths, message):
    net = nn.Sequential(nn.ReLU(), nn.Tanh())

    @register_stage_finder('bare')
    def find(backbone):
        return [Stage('all', (Block(net[0], None), Block(net[1])))]

    with pytest.raises(ValueError, match=message):
        with activate(net, Subnet((paths,))):
            pass
    assert get_active_subnet() is None
    assert not any('forward' in vars(block) for block in net)


def test_cost_leaves_the_model_as_it_was():
    model = resnet(frozen_stages=1).float()
    model.train()
    model.layer3[0].eval()
    modes = [m.training for m in model.modules()]
    before = copy.deepcopy(model.state_dict())
    measure_cost(model, torch.rand(1, 3, 32, 32))
    assert [m.training for m in model.modules()] == modes
    check_same(model, before)
    assert not any(
        m._forward_hooks or m._forward_pre_hooks for m in model.modules()
    )


class Slicing(nn.Sequential):
    """Gives what is left of an image to the right of 4 pixels."""

    def forward(self, x):
        assert x.shape[-1] > 3
        return dict(out=[super().forward(x[..., 4:])])


@pytest.mark.parametrize('size', [3, 4])
def test_too_small_images_are_refused(size):
    """The network fails, or nothing is left in the end."""
    net = two_stages(Slicing())
    assert measure_cost(net, torch.zeros(1, 3, 5, 5)).total == 0
    message = f'{size} x {size} px leaves no feature map at the end of Slicing'
    with pytest.raises(ValueError, match=message):
        measure_cost(net, torch.zeros(1, 3, size, size))


def check_same(model, before):
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert after[name].shape == value.shape, name
        assert torch.equal(after[name], value), name


# With a state, and with ranges that a pass may change.
@pytest.mark.parametrize(
    'name',
    [
        'FusedMovingAvgObsFakeQuantize',
        'HistogramObserver',
        'MovingAveragePerChannelMinMaxObserver',
    ],
)
def test_observers_before_and_after_their_first_pass(name):
    """One in a block that runs, and one before all blocks."""
    model, observer = resnet18(num_classes=4), getattr(quantization, name)
    model.layer2[0].relu = nn.Sequential(nn.ReLU(), observer())
    model.relu = nn.Sequential(nn.ReLU(), observer())
    images = torch.rand(2, 3, 32, 32)
    for _ in range(2):
        before = copy.deepcopy(model.state_dict())
        with activate(model, (1, 1, 1, 1)):
            model(5 * images)
            assert any(
                not torch.equal(value, before[key])
                for key, value in model.state_dict().items()
            )
        check_same(model, before)
        alone = copy.deepcopy(model)
        alone(images)  # the main network does observe
        subnet = Subnet.ordered((1, 1, 1, 1), (2, 2, 2, 2))
        PassRunner(model).run([None, subnet], lambda _: model(images).mean())
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
