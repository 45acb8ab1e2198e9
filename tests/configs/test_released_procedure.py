"""A1 against the released training procedure, in plain PyTorch.

The same ResNet-50, of torchvision, on the same weights, batches and subnets.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torchvision.models import resnet50

from mmst.engine.step import st_step
from mmst.subnets import PassRunner, SubnetInputs
from tests.conftest import ROOT, Steps

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


def random_batch(dtype, shape):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, shape, generator=generator)
    labels = torch.randint(1000, shape[:1], generator=generator)
    return images.to(dtype), labels


def named(items):
    """torchvision's parameters or buffers under mmpretrain's names."""
    return {
        ('head.' if key.startswith('fc.') else 'backbone.') + key: value
        for key, value in items
    }


def standardized(logits):
    return F.layer_norm(logits, logits.shape[1:], eps=1e-7)


@contextmanager
def kept_statistics(net):
    before = [buffer.clone() for buffer in net.buffers()]
    yield
    for buffer, value in zip(net.buffers(), before):
        buffer.copy_(value)


def truncated(net, x, depths):
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    for layer, depth in zip(
        [net.layer1, net.layer2, net.layer3, net.layer4], depths
    ):
        x = layer[:depth](x)
    return net.fc(net.avgpool(x).flatten(1))


def released_iteration(net, images, labels, subnets, as_released):
    """One iteration's losses; gradients add up in the parameters."""
    x = (images - MEAN.to(images)) / STD.to(images)
    # Normalised again there as if it were an image of 0 to 1.
    mean, std = MEAN.to(images) / 255, STD.to(images) / 255
    main = standardized(net(x))
    losses = [F.cross_entropy(main, labels)]
    losses[0].backward()
    target = main.detach().softmax(1)
    previous = x
    for subnet in subnets:
        small = F.interpolate(
            previous if as_released else x,
            (subnet.size, subnet.size),
            mode='bilinear',
            align_corners=False,
        )
        if as_released:
            small = previous = (small - mean) / std
        with nullcontext() if as_released else kept_statistics(net):
            log_q = standardized(
                truncated(net, small, subnet.depths)
            ).log_softmax(1)
            losses.append(F.kl_div(log_q, target, reduction='batchmean'))
            losses[-1].backward()
    return torch.stack(losses).detach()


@pytest.mark.parametrize(
    'name, dtype, shape, tolerance',
    [
        ('resnet50_st', torch.float64, (4, 3, 48, 48), 1e-10),
        ('resnet50_st-as-released', torch.float64, (4, 3, 48, 48), 1e-10),
        # Larger: batch statistics over few pixels enlarge what float32 rounds.
        pytest.param(
            'resnet50_st',
            torch.float32,
            (8, 3, 192, 192),
            1e-6,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_losses_gradients_and_step(name, dtype, shape, tolerance):
    cfg = Config.fromfile(ROOT / f'configs/st/{name}_in1k.py')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model, net = MODELS.build(cfg.model), resnet50()
    model.load_state_dict(named(net.state_dict().items()))
    for module in (model, net):
        module.to(dtype).train()

    sizes = (shape[-1] * 3 // 7, shape[-1])
    hook = HOOKS.build({**cfg.custom_hooks[0], 'size_range': sizes})
    sampler = hook.sampler.fit(model)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    steps = Steps(optim_wrapper.optimizer, model)
    optimizer = torch.optim.SGD(
        net.parameters(), 0.2, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    subnets = sampler.draw(iteration=0)
    assert len(subnets) == 6
    images, labels = random_batch(dtype, shape)
    data = dict(
        inputs=images.flip(1),  # mmpretrain's images are BGR
        data_samples=[DataSample().set_gt_label(int(i)) for i in labels],
    )
    option = cfg.train_cfg.get
    inputs = SubnetInputs(
        option('input_transforms', ()), option('chain_inputs', False)
    )
    updates = option('update_running_stats', False)
    runner = PassRunner(model, update_running_stats=updates)
    log = st_step(model, data, optim_wrapper, subnets, runner, inputs)
    losses = released_iteration(
        net, images, labels, subnets, 'released' in name
    )
    logged = torch.stack(
        [log['main_loss'], *(log[f'subnet{k}_loss'] for k in range(6))]
    )
    # Relative to the sum: a divergence is what is left of larger terms.
    assert (logged - losses).abs().max() <= tolerance * losses.sum()
    theirs = named(net.named_parameters())
    gradients = steps.gradients[0]
    assert set(gradients) == set(theirs)
    for key, gradient in gradients.items():
        expected = theirs[key].grad
        assert (gradient - expected).norm() <= tolerance * expected.norm()
    optimizer.step()
    theirs.update(named(net.named_buffers()))
    for key, value in model.state_dict().items():
        torch.testing.assert_close(
            value, theirs[key], rtol=tolerance, atol=tolerance
        )
