"""The loop that the docs show, on real networks of torchvision and timm."""

import math
import runpy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmst.subnets import SubnetSampler, find_stages
from tests.conftest import ROOT

NUM_CLASSES = 5


@pytest.fixture(scope='module')
def train_epoch():
    return runpy.run_path(str(ROOT / 'docs/how_to/plain_pytorch.py'))[
        'train_epoch'
    ]


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == 'torchvision ResNet':
        torchvision = pytest.importorskip('torchvision')
        return torchvision.models.resnet18(num_classes=NUM_CLASSES)
    timm = pytest.importorskip('timm')
    if name == 'timm ResNet':
        return timm.create_model('resnet18', num_classes=NUM_CLASSES)
    return timm.create_model(
        'vit_tiny_patch16_224',
        num_classes=NUM_CLASSES,
        img_size=64,
        depth=3,
        dynamic_img_size=True,
        dynamic_img_pad=True,
    )


def by_hand(model: nn.Module, x: Tensor, depths) -> Tensor:
    """Run a network with the first blocks of each stage alone."""
    if hasattr(model, 'patch_embed'):
        x = model.norm_pre(
            model.patch_drop(model._pos_embed(model.patch_embed(x)))
        )
        for block in list(model.blocks)[: depths[0]]:
            x = block(x)
        return model.forward_head(model.norm(x))
    x = model.bn1(model.conv1(x))
    x = (model.relu if hasattr(model, 'relu') else model.act1)(x)
    x = model.maxpool(x)
    for i, depth in enumerate(depths, 1):
        for block in list(getattr(model, f'layer{i}'))[:depth]:
            x = block(x)
    if hasattr(model, 'avgpool'):
        return model.fc(model.avgpool(x).flatten(1))
    return model.fc(model.global_pool(x))


def standardized(logits: Tensor) -> Tensor:
    """Zero mean and unit variance over the classes."""
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (centred.pow(2).mean(1, keepdim=True) + 1e-7).sqrt()


def divergence(main: Tensor, subnet: Tensor) -> Tensor:
    p, q = (standardized(z).softmax(1) for z in (main.detach(), subnet))
    return (p * (p.log() - q.log())).sum(1).mean()


@pytest.mark.parametrize(
    'sizes',
    [
        dict(size_range=(0.5, 1.0)),
        dict(size_range=(0.5, 1.0), num_sizes=1),
        dict(),  # the main network's
    ],
    ids=['apart', 'shared', 'with the main network'],
)
@pytest.mark.parametrize(
    'name', ['torchvision ResNet', 'timm ResNet', 'timm ViT']
)
def test_gradients_are_those_of_the_summed_losses(train_epoch, name, sizes):
    model = network(name).double()
    images, labels = torch.rand(3, 3, 64, 64).double(), torch.tensor([0, 4, 2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    gradients = {}

    def keep(*_):
        gradients.update(
            (key, p.grad.clone()) for key, p in model.named_parameters()
        )

    optimizer.register_step_pre_hook(keep)
    sampler = SubnetSampler(2, **sizes, seed=1).fit(model)
    (losses,) = train_epoch(
        model, [(images, labels)], optimizer, sampler, start=7
    )

    # The same draws, the losses in one graph.
    main = by_hand(model, images, [len(s) for s in find_stages(model)])
    expected = [F.cross_entropy(standardized(main), labels)]
    subnets = sampler.draw(7)
    assert len(subnets) == 2
    for subnet in subnets:
        side = round(64 * (subnet.size or 1))
        inputs = F.interpolate(
            images, (side, side), mode='bilinear', align_corners=False
        )
        expected.append(
            divergence(main, by_hand(model, inputs, subnet.depths))
        )
    sum(expected).backward()
    assert losses == pytest.approx([loss.item() for loss in expected])
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(
            gradients[key], parameter.grad, rtol=1e-6, atol=1e-9, msg=key
        )


@pytest.mark.parametrize(
    'name', ['torchvision ResNet', 'timm ResNet', 'timm ViT']
)
def test_several_steps(train_epoch, name):
    """Losses are finite, all weights change, and the network is whole."""
    model = network(name).double()  # float32 may round away a small step
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    loader = [
        (torch.rand(3, 3, 64, 64).double(), torch.randint(NUM_CLASSES, (3,)))
        for _ in range(4)
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    sampler = SubnetSampler(3, size_range=(0.5, 1.0)).fit(model)
    history = train_epoch(model, loader, optimizer, sampler)
    assert [len(losses) for losses in history] == [4] * 4
    assert all(math.isfinite(loss) for losses in history for loss in losses)
    for key, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[key]), key
    model.eval()
    with torch.no_grad():
        depths = [len(stage) for stage in find_stages(model)]
        images = loader[0][0]
        assert torch.equal(model(images), by_hand(model, images, depths))
