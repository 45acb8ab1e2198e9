"""The ST iteration against a few lines of plain PyTorch, in float64."""

import copy
import itertools
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import nn

from mmst.engine.step import st_step
from mmst.subnets import PassRunner, Subnet, get_active_subnet
from tests.conftest import Steps, batch, build_classifier, sgd

FULL = (3, 3, 3)
SUBNETS = [
    Subnet.ordered((3, 1, 2), FULL, 12),
    Subnet.ordered((1, 3, 1), FULL, 0.5),
    Subnet.ordered((2, 2, 3), FULL),
]


def plain_logits(model, images, subnet):
    """Logits of the first blocks, written out."""
    if subnet.size is not None:
        size = subnet.size if subnet.size > 1 else round(16 * subnet.size)
        images = F.interpolate(images, (size, size), mode='bilinear')
    net = model.backbone
    x = net.relu(net.norm1(net.conv1(images)))
    for name, depth in zip(net.res_layers, subnet.depths):
        for block in itertools.islice(getattr(net, name), depth):
            x = block(x)
    return model.head.fc(x.mean((2, 3)))


def standardized(logits):
    return (logits - logits.mean(1, keepdim=True)) / (
        logits.var(1, keepdim=True, unbiased=False) + 1e-7
    ).sqrt()


def plain_loss(model, data, subnets, normal=lambda z: z, normal_main=False):
    """The summands of Eq. 1, in one graph."""
    images = (data['inputs'] - 127.5) / 64
    labels = torch.cat([s.gt_label for s in data['data_samples']])
    main = plain_logits(model, images, Subnet.ordered(FULL, FULL))
    losses = [F.cross_entropy(normal(main) if normal_main else main, labels)]
    p = normal(main.detach()).softmax(1)
    for subnet in subnets:
        q = normal(plain_logits(model, images, subnet)).softmax(1)
        losses.append((p * (p.log() - q.log())).sum(1).mean())
    return losses


def assert_close(ones, others):
    torch.testing.assert_close([*ones], [*others], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    'normalize, normalize_main, norm',
    [
        (None, False, 'BN'),
        ('standardize', True, 'BN'),
        ('standardize', False, 'GN'),
    ],
)
def test_gradient_is_that_of_the_summed_loss(normalize, normalize_main, norm):
    """Contracts 2 and 3, where passes share prefixes and where they do not."""
    subnets = [
        *SUBNETS,
        Subnet.ordered((3, 2, 1), FULL, 12),
        Subnet.ordered((3, 3, 1), FULL, 1.0),
    ]
    model = build_classifier(
        norm=norm,
        loss_kl=dict(type='mmst.KLMinusLoss', normalize=normalize),
        normalize_main=normalize_main,
    )
    normal = standardized if normalize else (lambda z: z)
    expected = plain_loss(model, batch(), subnets, normal, normalize_main)
    gradients = torch.autograd.grad(sum(expected), model.parameters())
    optim_wrapper = sgd(model)
    steps = Steps(optim_wrapper.optimizer, model)

    log = st_step(model, batch(), optim_wrapper, subnets)

    assert len(steps) == 1 and optim_wrapper.inner_count == 1
    names = [name for name, _ in model.named_parameters()]
    assert_close(map(steps.gradients[0].get, names), gradients)
    logged = [log['main_loss']] + [log[f'subnet{k}_loss'] for k in range(5)]
    assert_close(logged, [loss.detach() for loss in expected])
    torch.testing.assert_close(log['loss'], sum(expected).detach())
    assert not any(value.requires_grad for value in log.values())


def build_twins(**options):
    model = build_classifier(**options)
    return model, copy.deepcopy(model)


@pytest.mark.parametrize('max_counts', [-1, 2, 3])
def test_accumulation_equals_the_larger_batch(max_counts):
    """Contract 3: two half batches are one batch, the run's end included."""
    whole, accumulated = build_twins(norm='GN')
    data, expected = batch(), sgd(whole)
    st_step(whole, data, expected, SUBNETS)
    optim_wrapper = sgd(accumulated, accumulative_counts=2)
    optim_wrapper.initialize_count_status(accumulated, 0, max_counts)
    steps = Steps(optim_wrapper.optimizer, accumulated)
    for i in range(2):
        half = {name: part[i::2] for name, part in data.items()}
        st_step(accumulated, half, optim_wrapper, SUBNETS)
    assert len(steps) == 1
    assert_close(whole.parameters(), accumulated.parameters())
    if max_counts == 3:  # a last iteration of its own, not scaled down
        st_step(whole, batch(seed=1), expected, SUBNETS)
        st_step(accumulated, batch(seed=1), optim_wrapper, SUBNETS)
        assert len(steps) == 2
        assert_close(whole.parameters(), accumulated.parameters())


def test_clipping_acts_once_on_the_sum():
    """Contract 3."""
    model = build_classifier()
    losses = plain_loss(model, batch(), SUBNETS[:1])
    gradients = torch.autograd.grad(sum(losses), model.parameters())
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    before = [p.detach().clone() for p in model.parameters()]
    model.head.loss_kl.normalize = None
    optim_wrapper = sgd(model, lr=1.0, clip_grad=dict(max_norm=0.1))
    assert norm > 0.1
    st_step(model, batch(), optim_wrapper, SUBNETS[:1])
    for old, new, gradient in zip(before, model.parameters(), gradients):
        torch.testing.assert_close(
            old - new, gradient * 0.1 / (norm + 1e-6), rtol=1e-8, atol=1e-12
        )


class Scaled(OptimWrapper):
    """Scales losses, unscales once, and skips what overflows, as AMP does."""

    loss_scaler = SimpleNamespace(is_enabled=lambda: True)

    def backward(self, loss, **kwargs):
        (loss * 1024).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        (group,) = self.optimizer.param_groups
        gradients = [parameter.grad for parameter in group['params']]
        if all(gradient.isfinite().all() for gradient in gradients):
            for gradient in gradients:
                gradient /= 1024
            super().step(**kwargs)


def test_loss_scaling_acts_once():
    """Contract 3: the scaled run takes the plain run's steps."""
    plain, scaled = build_twins()
    scaling = Scaled(sgd(scaled).optimizer)
    for model, wrapper in ((plain, sgd(plain)), (scaled, scaling)):
        for seed in range(2):
            st_step(model, batch(seed=seed), wrapper, SUBNETS)
    assert_close(plain.parameters(), scaled.parameters())


def test_loss_scaler_skips_what_overflows():
    """No exception, as without subnets; the next step is taken."""
    model = build_classifier()
    optim_wrapper = Scaled(sgd(model).optimizer)
    before = [p.detach().clone() for p in model.parameters()]
    overflow = batch()
    overflow['inputs'][0, 0, 0, 0] = float('inf')
    st_step(model, overflow, optim_wrapper, SUBNETS)
    assert all(map(torch.equal, before, model.parameters()))
    optim_wrapper.zero_grad()
    st_step(model, batch(), optim_wrapper, SUBNETS)
    assert not any(map(torch.equal, before, model.parameters()))


def test_amp_casts_passes_but_not_the_divergence(monkeypatch):
    """Contract 3, with MMEngine's own wrapper in bfloat16 on a CPU."""
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'is_cuda_available', lambda: True
    )
    model = build_classifier(double=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optim_wrapper = AmpOptimWrapper(optimizer=optimizer, dtype='bfloat16')
    steps = Steps(optimizer, model)
    seen = []
    model.head.register_forward_hook(lambda m, a, out: seen.append(out))
    log = st_step(model, batch(double=False), optim_wrapper, SUBNETS)
    assert len(steps) == 1
    assert [z.dtype for z in seen] == [torch.bfloat16] * 4
    assert log['subnet0_loss'].dtype == torch.float32


def test_nonfinite_main_network_is_named():
    model = build_classifier()
    head = model.head
    head.loss = lambda feats, samples: dict(loss=head(feats).sum() / 0)
    with pytest.raises(FloatingPointError, match='in the main network: '):
        st_step(model, batch(), sgd(model), SUBNETS)


def test_nonfinite_subnet_is_named_and_nothing_updated():
    model = build_classifier()
    before = [p.detach().clone() for p in model.parameters()]
    optim_wrapper = sgd(model)

    class Spoil(nn.Module):
        def forward(self, subnet, main):
            is_spoilt = get_active_subnet() is SUBNETS[1]
            return subnet.sum() * (float('inf') if is_spoilt else 1)

    model.head.loss_kl = Spoil()
    with pytest.raises(FloatingPointError, match=r'subnet 1 \(1-3-1 at 0.500'):
        st_step(model, batch(), optim_wrapper, SUBNETS)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize('update', [False, True])
def test_model_is_itself_again_after_an_exception(update):
    """Contract 8: whole, with its own BatchNorm statistics."""
    model, reference = build_twins()
    reference.train_step(batch(), sgd(reference, lr=0.0))

    class Fail(nn.Module):
        def forward(self, subnet, main):
            raise KeyError('in a subnet')

    model.head.loss_kl = Fail()
    with pytest.raises(KeyError, match='in a subnet'):
        st_step(
            model,
            batch(),
            sgd(model, lr=0.0),
            SUBNETS,
            PassRunner(model, update_running_stats=update),
        )
    assert model.head._main_logits is None
    if not update:  # only the main pass has touched the statistics
        model.eval(), reference.eval()
        for (name, a), b in zip(
            model.state_dict().items(), reference.state_dict().values()
        ):
            assert torch.equal(a, b), name
        images = torch.rand(2, 3, 16, 16).double()
        assert torch.equal(model(images), reference(images))
    assert not any('forward' in vars(m) for m in model.modules())


def test_main_networks_other_figures_keep_their_names():
    model = build_classifier()
    head, loss = model.head, model.head.loss
    head.loss = lambda *args: dict(loss(*args), accuracy=torch.tensor([0.5]))
    log = st_step(model, batch(), sgd(model), SUBNETS[:1])
    assert log['accuracy'] == 0.5
    assert set(log) == {'loss', 'main_loss', 'accuracy', 'subnet0_loss'}


def test_anomalous_parameters_are_looked_for_in_the_main_pass(monkeypatch):
    seen = []
    monkeypatch.setattr(
        'mmst.engine.step.detect_anomalous_params',
        lambda loss, model: seen.append((loss, model)),
    )
    model = build_classifier()
    st_step(model, batch(), sgd(model), SUBNETS)
    assert not seen
    model.detect_anomalous_params = True
    log = st_step(model, batch(), sgd(model), SUBNETS)
    ((loss, looked_at),) = seen
    assert loss == log['main_loss'] and loss.requires_grad
    assert looked_at is model
